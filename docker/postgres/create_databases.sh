#!/bin/sh
# Runs once, on an empty cluster: one database and one login for each of Airflow, Vigil and MLflow, and no way across; and the
# roles of investigators and SAR officers (docs/aml.md, Who sees what) and of fairness (docs/fairness.md), which Vigil's
# migration fills.
set -eu
for name in airflow vigil mlflow; do
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set name="$name" --set password="$(cat "${SECRETS:-/run/secrets}/${name}_database_password")" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8';
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE vigil_investigator NOLOGIN;
CREATE ROLE vigil_sar_officer NOLOGIN;
CREATE ROLE vigil_fairness NOLOGIN;
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
GRANT vigil_investigator, vigil_sar_officer, vigil_fairness TO vigil WITH ADMIN OPTION, SET FALSE, INHERIT FALSE;
SQL
