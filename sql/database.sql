-- What the administrator prepares in the database that the service is to use, after the roles: run
-- it there as a superuser, or as the owner of the database with CREATEROLE. May be run again.
do $$
declare
  owner name;
begin
  if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    begin
      -- So that this administrator may make the schema for the owner, and migrate it.
      execute pg_catalog.format('grant artifact_owner to %I', current_user);
    exception
      when insufficient_privilege then null;
    end;
  end if;

  select r.rolname into owner
    from pg_catalog.pg_namespace n join pg_catalog.pg_roles r on r.oid = n.nspowner
    where n.nspname = 'artifact';
  if owner is null then
    create schema artifact authorization artifact_owner;
  elsif owner <> 'artifact_owner' then
    raise exception 'the schema "artifact" belongs to "%", not to "artifact_owner"', owner
      using errcode = 'duplicate_schema';
  end if;
  revoke all on schema artifact from public;
  grant usage on schema artifact to artifact_server, artifact_signer, artifact_reader;

  -- Nobody can put tables, functions or operators where an unqualified name might find them.
  execute pg_catalog.format('revoke create, temporary on database %I from public', pg_catalog.current_database());
  execute pg_catalog.format(
    'grant connect on database %I to artifact_server, artifact_signer, artifact_reader', pg_catalog.current_database());
  if pg_catalog.to_regnamespace('public') is not null then
    revoke create on schema public from public;
  end if;
end
$$;
