"""The work of the night, one package per step, in the order the data flows. Imports no Airflow."""

__version__ = "0.1.0"
