"""The groups of the command line. They read settings, call app.py or speak HTTP with a token; they decide nothing."""
