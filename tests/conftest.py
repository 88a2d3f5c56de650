"""Lets every test import the modules beside this file (`broken_images`, `standard_table`)."""
