-- Events are appended without waiting for each other: each appender says by a shared advisory lock from
-- which id on its events will be, and readers go no further than the lowest that may still come.
comment on table artifact.event is
  'What people watch, read in the order of ids, up to the first that may still be committed. Kept for a while only.';
