-- Who is signed in to the inspector: sessions of browsers, and links that sign in once.

create table artifact.sign_in (
  -- Of 256 random bits that only the browser, or whoever was given the link, has.
  secret_sha256 bytea primary key check (octet_length(secret_sha256) = 32),
  kind text not null check (kind in ('session', 'link')),
  -- What it may see is asked of this token at every request: with the token it ends.
  token_id uuid not null references artifact.token (id),
  created_at timestamptz not null,
  expires_at timestamptz not null check (expires_at > created_at)
);
comment on table artifact.sign_in is
  'Sessions of browsers and one-time links, by the SHA-256 of their secret. A link is deleted by its use.';
create index sign_in_by_end on artifact.sign_in (expires_at);

grant select, insert, delete on artifact.sign_in to artifact_server;
