"""The two web servers of the sandbox, the API and the storage, and its webhook sender."""
