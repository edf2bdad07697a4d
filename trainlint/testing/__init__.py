"""What stands behind the pytest plugin: scans that workers share, scripts as test items, assertions on objects."""
