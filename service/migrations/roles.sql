-- The four roles and the database, made once by somebody who may create roles (a superuser, or a role with CREATEROLE
-- and CREATEDB). Run with psql; passwords come from the environment and are set anew at each run:
--   TIMEWARDEN_{OWNER,APP,KEEPER,AUDITOR}_PASSWORD, TIMEWARDEN_DATABASE (the database's name)
\set ON_ERROR_STOP on
\getenv database TIMEWARDEN_DATABASE
\getenv owner_password TIMEWARDEN_OWNER_PASSWORD
\getenv app_password TIMEWARDEN_APP_PASSWORD
\getenv keeper_password TIMEWARDEN_KEEPER_PASSWORD
\getenv auditor_password TIMEWARDEN_AUDITOR_PASSWORD

-- Create each role that is not there yet.
SELECT format('CREATE ROLE %I', wanted.name)
FROM unnest(ARRAY['timewarden_owner', 'timewarden_app', 'timewarden_keeper', 'timewarden_auditor']) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name)
\gexec

-- Give each its password; none of them is more than an ordinary role.
ALTER ROLE timewarden_owner WITH LOGIN NOCREATEROLE NOCREATEDB PASSWORD :'owner_password';
ALTER ROLE timewarden_app WITH LOGIN NOCREATEROLE NOCREATEDB PASSWORD :'app_password';
ALTER ROLE timewarden_keeper WITH LOGIN NOCREATEROLE NOCREATEDB PASSWORD :'keeper_password';
ALTER ROLE timewarden_auditor WITH LOGIN NOCREATEROLE NOCREATEDB PASSWORD :'auditor_password';

-- Postgres bounds the statements of the processes that serve and keep, however they reach it: a connection pooler passes
-- no time limit on. Processes that reach it directly set their own (TIMEWARDEN_DATABASE_TIMEOUT, _LOCK_TIMEOUT).
ALTER ROLE timewarden_app SET statement_timeout = '5s';
ALTER ROLE timewarden_app SET lock_timeout = '3s';
ALTER ROLE timewarden_app SET idle_in_transaction_session_timeout = '20s';
ALTER ROLE timewarden_keeper SET statement_timeout = '5s';
ALTER ROLE timewarden_keeper SET lock_timeout = '3s';
ALTER ROLE timewarden_keeper SET idle_in_transaction_session_timeout = '20s';
-- A keeper runs the same statements for months while the log grows: a plan that was right in the beginning would read a
-- large table as a whole.
ALTER ROLE timewarden_keeper SET plan_cache_mode = 'force_custom_plan';

-- Whoever runs this must be a member of the owner role to hand it a database.
SELECT 'GRANT timewarden_owner TO CURRENT_USER'
WHERE NOT pg_has_role(current_user, 'timewarden_owner', 'MEMBER')
\gexec

-- Create the database, owned by the role that migrates.
SELECT format('CREATE DATABASE %I OWNER timewarden_owner ENCODING ''UTF8'' TEMPLATE template0', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
\gexec

-- Nobody else may connect to it or make temporary tables in it.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'database')
\gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO timewarden_app, timewarden_keeper, timewarden_auditor', :'database')
\gexec
