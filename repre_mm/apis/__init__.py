"""Python API: thin functions over what the commands run. Import them from :mod:`repre_mm`."""
