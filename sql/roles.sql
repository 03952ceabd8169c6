-- The roles of the artifact service, made once per cluster by its administrator.
--
--   artifact_owner    owns everything, cannot log in; migrations run as it (SET ROLE)
--   artifact_server   what the server runs as; may insert sealed facts, never change them
--   artifact_reader   for auditors; may read everything but tokens
--
-- artifact_server and artifact_reader are made without a password: give them one, or another way to
-- log in, with ALTER ROLE.
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'artifact_owner') then
    create role artifact_owner nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'artifact_server') then
    create role artifact_server login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'artifact_reader') then
    create role artifact_reader login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
  end if;
end
$$;
