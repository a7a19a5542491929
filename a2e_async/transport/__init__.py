"""How requests travel: pace, wire, envelope, retry; and media up and down."""
