-- What is read in the order of an index, and only in part, is read from the index: rows that follow each
-- other in it lie apart in a table that grows by time, and each would be a page of its own.

-- The hashes of a tile: 256 leaves are some twenty pages of the table, and three of this index.
alter table artifact.log_tree drop constraint log_tree_last_idx_fkey;
alter table artifact.log_leaf drop constraint log_leaf_pkey;
alter table artifact.log_leaf add constraint log_leaf_pkey primary key (idx) include (leaf_hash);
alter table artifact.log_tree
  add constraint log_tree_last_idx_fkey foreign key (last_idx) references artifact.log_leaf (idx);

-- The list of the runs of a task, the latest first.
create index run_latest on artifact.run (task, run desc) include (opened_at);

-- An index tells by itself only what a vacuum has seen to be there for everybody; by default a large
-- table that only grows waits for a fifth more.
alter table artifact.log_leaf set (autovacuum_vacuum_insert_scale_factor = 0.01);
alter table artifact.run set (autovacuum_vacuum_insert_scale_factor = 0.01);
