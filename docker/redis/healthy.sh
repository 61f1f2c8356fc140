#!/bin/sh
# Whether Redis answers to its password.
set -eu
REDISCLI_AUTH=$(cat "${SECRETS:-/run/secrets}/redis_password") redis-cli "$@" ping | grep -q PONG
