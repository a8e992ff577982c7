"""Timesheets: a person's week of hours, from draft to approved. Use cases over SQL over a pure state machine."""
