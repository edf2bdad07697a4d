"""Measure: turns a recording into measurements, each made by one module, without any verdict."""
