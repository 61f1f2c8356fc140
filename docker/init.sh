#!/bin/sh
# Brings every schema, the pools, the roles and the bucket to what this version of the repository says. Run before each
# start; running it again changes nothing.
set -eu
airflow db migrate
airflow pools import "$(dirname "$0")/../dags/pools.json"
python "$(dirname "$0")/access.py"
python "$(dirname "$0")/stores.py"
