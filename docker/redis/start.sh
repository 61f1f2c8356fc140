#!/bin/sh
# Redis with the password of a file; on the command line every user of the machine could read it.
set -eu
umask 077
printf 'requirepass %s\n' "$(cat "${SECRETS:-/run/secrets}/redis_password")" > /tmp/redis.conf
exec redis-server /tmp/redis.conf "$@"
