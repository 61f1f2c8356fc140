#!/bin/sh
# Becomes the given program, after handing it the secrets that it can read only from its environment: for each NAME below,
# the content of the file that NAME_FILE names. Airflow reads its own secrets from files (AIRFLOW__*_CMD).
set -eu
for name in VIGIL_DATABASE_URL MLFLOW_BACKEND_STORE_URI AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
    eval "file=\${${name}_FILE:-}"
    if [ -n "$file" ]; then
        value=$(cat "$file") || exit 2
        export "$name=$value"
        unset "${name}_FILE"
    fi
done
exec "$@"
