"""``a2e journal``: lists, resumes, settles and prunes the entries of a journal."""
