-- Lists of uploads by state, and of one task: ended uploads are kept for a month, and a list of the
-- few that failed, or of those of one task, would read all of them.

-- Backwards it has the order of the lists: the latest opened first, then by id.
create index upload_by_state on artifact.upload (state, opened_at, id);
create index upload_by_task on artifact.upload (task, opened_at, id);
-- What it was for, the first one does.
drop index artifact.upload_by_time;
