"""Measure: each module here turns a recording into one kind of measurement, without any verdict."""
