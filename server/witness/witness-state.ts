/**
 * What a witness remembers, in one SQLite file: of every log the newest head that it cosigned, and,
 * when it audits, how far it has read and every name that was sealed.
 *
 * It is never made by accident: a witness with an empty memory would cosign a fork.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { createFrontier, type Frontier, parseFrontier } from '../../client/verify/frontier.ts'
import { ArtifactError } from '../../schemas/problems.ts'

export interface WitnessedHead {
  size: number
  /** As it was cosigned. */
  note: string
}

export interface WitnessState extends Disposable {
  /** The newest head of a log that was cosigned. */
  findHead(origin: string): WitnessedHead | undefined
  /**
   * Replaces the newest head if it still has `before` leaves, 0 when there is none; durable when it
   * returns. Answers whether it did: a cosignature for a head that was not kept must not leave.
   */
  swapHead(origin: string, before: number, head: WitnessedHead): boolean
  /** The tree of the leaves that were read; a fresh copy. */
  readAudited(origin: string): Frontier
  findSeal(origin: string, name: string): number | undefined
  /** Accepts more leaves: the tree and the names they seal, durably and all at once. */
  accept(
    origin: string,
    frontier: Frontier,
    seals: readonly { name: string; index: number }[],
  ): void
}

/** As of the signer: 128 bits of the hash of a name. */
const NAME_HASH_BYTES = 16

const SCHEMA = `
  create table head (origin text primary key, size integer not null, note text not null);
  create table audited (origin text primary key, frontier text not null);
  create table seal (
    origin text not null, name blob not null, idx integer not null, primary key (origin, name)
  ) without rowid;`

/** Makes the memory of a new witness. Throws `target_exists` when there is one. */
export function initWitnessState(path: string): void {
  if (existsSync(path))
    throw new ArtifactError('target_exists', `Cannot make the witness's state ${path}: it exists`)
  using db = openFile(path)
  db.exec(`begin; ${SCHEMA}; commit`)
}

/** Opens the memory of a witness. Throws `configuration` when there is none. */
export function openWitnessState(path: string): WitnessState {
  if (!existsSync(path))
    throw new ArtifactError(
      'configuration',
      `Cannot open the witness's state ${path}: it is gone`,
      {
        expected: 'the state of this witness, restored; or a new witness (artifact witness init)',
      },
    )
  const db = openFile(path)
  const statements = {
    head: db.prepare('select size, note from head where origin = ?'),
    first: db.prepare('insert into head values (?, ?, ?) on conflict do nothing'),
    swap: db.prepare('update head set size = ?, note = ? where origin = ? and size = ?'),
    audited: db.prepare('select frontier from audited where origin = ?'),
    find: db.prepare('select idx from seal where origin = ? and name = ?'),
    seal: db.prepare('insert into seal values (?, ?, ?)'),
    accept: db.prepare('insert or replace into audited values (?, ?)'),
  }
  return {
    findHead(origin) {
      const row = statements.head.get(origin)
      return row === undefined ? undefined : { size: Number(row.size), note: String(row.note) }
    },
    swapHead(origin, before, { size, note }) {
      if (statements.swap.run(size, note, origin, before).changes === 1) return true
      return before === 0 && statements.first.run(origin, size, note).changes === 1
    },
    readAudited(origin) {
      const row = statements.audited.get(origin)
      return row === undefined ? createFrontier() : parseFrontier(JSON.parse(String(row.frontier)))
    },
    findSeal(origin, name) {
      const row = statements.find.get(origin, hashName(name))
      return row === undefined ? undefined : Number(row.idx)
    },
    accept(origin, frontier, seals) {
      db.exec('begin immediate')
      try {
        for (const { name, index } of seals) statements.seal.run(origin, hashName(name), index)
        statements.accept.run(origin, JSON.stringify(frontier))
        db.exec('commit')
      } catch (error) {
        db.exec('rollback')
        throw error
      }
    },
    [Symbol.dispose]: () => db.close(),
  }
}

function openFile(path: string): DatabaseSync {
  const db = new DatabaseSync(path)
  // What was cosigned must outlive a power cut before anybody hears of it.
  db.exec('pragma journal_mode = wal; pragma synchronous = full')
  return db
}

const hashName = (name: string) =>
  createHash('sha256').update(name).digest().subarray(0, NAME_HASH_BYTES)
