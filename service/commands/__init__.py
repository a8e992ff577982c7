"""The groups of the command line. They read settings, start processes, speak HTTP with a token, or, as the
database's owner, to the database; they decide nothing."""
