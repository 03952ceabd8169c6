-- The roles of the artifact service, made once per cluster by its administrator.
--
--   artifact_owner    owns everything, cannot log in; migrations run as it (SET ROLE)
--   artifact_server   what the server runs as; may insert sealed facts, never change them
--   artifact_signer   what signs the log runs as; may insert signed heads, and nothing else
--   artifact_reader   for auditors; may read everything but tokens
--
-- all but the owner are made without a password: give them one, or another way to log
-- in, with ALTER ROLE. May be run again.
do $$
declare
  wanted record;
begin
  for wanted in values
    ('artifact_owner', 'nologin'), ('artifact_server', 'login'), ('artifact_signer', 'login'), ('artifact_reader', 'login')
  loop
    begin
      execute pg_catalog.format(
        'create role %I %s nosuperuser nocreatedb nocreaterole noreplication nobypassrls',
        wanted.column1, wanted.column2);
    exception
      -- It is there, or somebody else makes it at this moment.
      when duplicate_object or unique_violation then null;
    end;
  end loop;
end
$$;
