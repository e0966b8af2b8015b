#!/bin/sh
# The services' login. `playhead migrate --service-login playhead` makes it a member of their role.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -d playhead -v password="$SERVICE_PASSWORD" <<'SQL'
create role playhead login password :'password';
SQL
