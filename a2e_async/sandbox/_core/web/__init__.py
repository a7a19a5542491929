"""The sandbox's web servers, API and storage, and its webhook sender."""
