-- What the first page shows of uploads beyond their state: when they began again, and which ended last.

-- When the present attempt began; null for the first one, which began with the upload.
alter table artifact.upload add column restarted_at timestamptz;

create index upload_by_end on artifact.upload (ended_at desc, id) where ended_at is not null;
