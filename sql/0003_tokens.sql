-- Bearer tokens. The secret itself is never stored; a token ends by a date or by revocation.

create table artifact.token (
  id uuid primary key,
  name text not null,
  secret_sha256 bytea not null unique check (octet_length(secret_sha256) = 32),
  scopes text[] not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
comment on table artifact.token is 'Bearer tokens, by the SHA-256 of their secret.';

grant select, insert on artifact.token to artifact_server;
grant update (revoked_at) on artifact.token to artifact_server;
