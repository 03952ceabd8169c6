/**
 * What the signer remembers, in one SQLite file that Postgres cannot touch: how far it has signed,
 * and every name that was ever sealed. Without it a superuser could hide a row and append another
 * under the same name, and the log would look consistent.
 *
 * It is never made by accident: a signer that starts with an empty memory would sign anything.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { createFrontier, type Frontier, parseFrontier } from '../../client/verify/frontier.ts'
import { ArtifactError } from '../../schemas/problems.ts'

export interface SignerState extends Disposable {
  readonly origin: string
  /** The tree that was last accepted; a fresh copy. */
  readFrontier(): Frontier
  /** The newest note, and the size of its tree. */
  readNote(): { size: number; note: string } | undefined
  /** Index of the leaf that sealed a name, if any did. */
  findSeal(name: string): number | undefined
  /** Accepts more leaves: the tree and the names they seal, durably and all at once. */
  accept(frontier: Frontier, seals: readonly { name: string; index: number }[]): void
  /**
   * Keeps a note that is about to be published, without a wait for the disk: what it signs was accepted
   * durably, and whoever has lost the note signs the same again.
   */
  keepNote(size: number, note: string): void
}

/** Bytes of a name's hash; 128 bits keep accidents away, and whoever finds a collision only hurts himself. */
const NAME_HASH_BYTES = 16

/** What was accepted must outlive a power cut before it is signed. */
const DURABLY = 'pragma synchronous = full'

const SCHEMA = `
  create table meta (origin text not null);
  create table head (id integer primary key check (id = 1), frontier text not null, note text, note_size integer);
  create table seal (name blob primary key, idx integer not null) without rowid;`

/** Makes the memory of a new log. Throws `target_exists` when there is one. */
export function initSignerState(path: string, origin: string): void {
  if (existsSync(path))
    throw new ArtifactError('target_exists', `Cannot make the signer's state ${path}: it exists`)
  using db = openFile(path)
  db.exec('begin')
  db.exec(SCHEMA)
  db.prepare('insert into meta values (?)').run(origin)
  db.prepare('insert into head (id, frontier) values (1, ?)').run(JSON.stringify(createFrontier()))
  db.exec('commit')
}

/** Opens the memory of a log. Throws `configuration` when there is none. */
export function openSignerState(path: string): SignerState {
  if (!existsSync(path))
    throw new ArtifactError('configuration', `Cannot open the signer's state ${path}: it is gone`, {
      expected: 'the state of this log, restored; or a new log (artifact signer --init)',
    })
  const db = openFile(path)
  const origin = String(db.prepare('select origin from meta').get()?.origin)
  const statements = {
    head: db.prepare('select frontier, note, note_size from head'),
    find: db.prepare('select idx from seal where name = ?'),
    seal: db.prepare('insert into seal (name, idx) values (?, ?)'),
    accept: db.prepare('update head set frontier = ?'),
    note: db.prepare('update head set note = ?, note_size = ?'),
  }
  return {
    origin,
    readFrontier: () => parseFrontier(JSON.parse(String(statements.head.get()?.frontier))),
    readNote() {
      const row = statements.head.get()
      if (row === undefined || row.note === null) return undefined
      return { size: Number(row.note_size), note: String(row.note) }
    },
    findSeal(name) {
      const row = statements.find.get(hashName(name))
      return row === undefined ? undefined : Number(row.idx)
    },
    accept: (frontier, seals) => accept(db, statements, frontier, seals),
    keepNote(size, note) {
      db.exec('pragma synchronous = normal')
      try {
        statements.note.run(note, size)
      } finally {
        db.exec(DURABLY)
      }
    },
    [Symbol.dispose]: () => db.close(),
  }
}

function accept(
  db: DatabaseSync,
  statements: Record<'seal' | 'accept', StatementSync>,
  frontier: Frontier,
  seals: readonly { name: string; index: number }[],
): void {
  db.exec('begin immediate')
  try {
    for (const { name, index } of seals) statements.seal.run(hashName(name), index)
    statements.accept.run(JSON.stringify(frontier))
    db.exec('commit')
  } catch (error) {
    db.exec('rollback')
    throw error
  }
}

function openFile(path: string): DatabaseSync {
  const db = new DatabaseSync(path)
  db.exec('pragma journal_mode = wal')
  db.exec(DURABLY)
  return db
}

const hashName = (name: string) =>
  createHash('sha256').update(name).digest().subarray(0, NAME_HASH_BYTES)
