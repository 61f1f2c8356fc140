"""The embedded stack: PostgreSQL, Airflow, MLflow, Feast and the report pages as one supervised group on free ports."""
