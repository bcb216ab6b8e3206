"""Enrolment, keys, tokens and signatures."""
