/**
 * What an auditor remembers of a log, in two files of the state folder:
 *
 *     audit-SHA256.note      the newest head that an audit found nothing against, as it was signed
 *     audit-SHA256.sqlite    every leaf that seals a name, by name, and the tree so far
 *
 * named by the origin of the log. The leaves are kept whole: they are the auditor's own copy, which
 * nobody else can alter. An audit changes them at its end, and only when it found nothing.
 */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { syncFolder, writeDurable } from '../disk/durable.ts'
import { localError } from '../disk/local-error.ts'
import { parseTree, type TreeBuilder } from '../verify/tree-builder.ts'

/** A leaf that seals a name, as the log has it. */
export interface KnownSeal {
  name: string
  index: number
  leaf: Uint8Array
}

export interface RunKey {
  task: string
  run: number
}

/** How far the last audit went. */
export interface AuditedState {
  tree: TreeBuilder
  /** Leaves whose records were compared. */
  comparedSize: number
}

export interface AuditMemory extends AsyncDisposable {
  /** `undefined` in a new memory. */
  readState(): AuditedState | undefined
  findSeal(name: string): number | undefined
  addSeal(seal: KnownSeal): void
  /** Runs that the leaves from an index on seal something in, in order. */
  runs(fromIndex: number): Generator<RunKey>
  hasRun(run: RunKey): boolean
  /** Seals of a run with `after < name <= upTo`, by name; each end may be open. */
  seals(run: RunKey, after: string | undefined, upTo: string | undefined): KnownSeal[]
  /** Keeps everything, durably. Without it all that was added is forgotten. */
  keep(state: AuditedState): Promise<void>
}

const SCHEMA = `
  create table state (id integer primary key check (id = 1), tree text not null, compared integer not null);
  create table seal (
    task text not null, run integer not null, name text not null,
    idx integer not null, leaf blob not null, primary key (task, run, name)
  ) without rowid;`

/** Path of the note of the last audit without findings. */
export function auditNotePath(folder: string, origin: string): string {
  return `${auditBase(folder, origin)}.note`
}

/** The note of the last audit without findings, if there is one. */
export async function readAuditNote(folder: string, origin: string): Promise<string | undefined> {
  const path = auditNotePath(folder, origin)
  return existsSync(path) ? readFile(path, 'utf8') : undefined
}

/** Keeps the note of an audit without findings, durably. */
export async function writeAuditNote(folder: string, origin: string, note: string): Promise<void> {
  await writeDurable(auditNotePath(folder, origin), note)
}

/** Whether an audit can go on where the last one ended. */
export function hasAuditMemory(folder: string, origin: string): boolean {
  return existsSync(`${auditBase(folder, origin)}.sqlite`)
}

/** Opens the memory of the last audit to go on with it, or a new one in its place. Throws `local_io`. */
export async function openAuditMemory(
  folder: string,
  origin: string,
  { goOn }: { goOn: boolean },
): Promise<AuditMemory> {
  const path = `${auditBase(folder, origin)}.sqlite`
  const draft = goOn ? path : `${path}.${randomBytes(6).toString('hex')}.draft`
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // SQLite makes files that others may read: every name is in this one.
    if (!goOn) await (await open(draft, 'wx', 0o600)).close()
    return memoryIn(draft, path)
  } catch (error) {
    throw localError('use', draft, error)
  }
}

function memoryIn(draft: string, path: string): AuditMemory {
  const isNew = draft !== path
  const db = new DatabaseSync(draft)
  // A draft is no loss; what is gone on with must survive a crash in the middle.
  db.exec(
    isNew ? 'pragma journal_mode = off; pragma synchronous = off' : 'pragma synchronous = full',
  )
  db.exec('begin immediate')
  if (isNew) db.exec(SCHEMA)
  const statements = prepareStatements(db)
  const find = (name: string) => {
    const [task = '', run = '', ...rest] = name.split('/')
    return [task, Number(run), rest.join('/')] as const
  }
  return {
    readState() {
      const row = statements.state.get()
      if (row === undefined) return undefined
      return { tree: parseTree(JSON.parse(String(row.tree))), comparedSize: Number(row.compared) }
    },
    findSeal(name) {
      const row = statements.find.get(...find(name))
      return row === undefined ? undefined : Number(row.idx)
    },
    addSeal: ({ name, index, leaf }) => void statements.add.run(...find(name), index, leaf),
    *runs(fromIndex) {
      let [task, run] = ['', -1]
      for (;;) {
        const row = statements.nextRun.get(task, run, fromIndex)
        if (row === undefined) return
        task = String(row.task)
        run = Number(row.run)
        yield { task, run }
      }
    },
    hasRun: ({ task, run }) => statements.hasRun.get(task, run) !== undefined,
    seals({ task, run }, after, upTo) {
      const rows = statements.seals.all(
        task,
        run,
        after ?? null,
        after ?? '',
        upTo ?? null,
        upTo ?? '',
      )
      return rows.map((row) => ({
        name: `${task}/${run}/${row.name}`,
        index: Number(row.idx),
        leaf: row.leaf instanceof Uint8Array ? row.leaf : new Uint8Array(),
      }))
    },
    async keep({ tree, comparedSize }) {
      statements.keep.run(JSON.stringify(tree), comparedSize)
      db.exec('commit')
      if (isNew) await publish(db, draft, path)
    },
    async [Symbol.asyncDispose]() {
      if (db.isOpen) db.close()
      if (isNew) await rm(draft, { force: true })
    },
  }
}

type Statements = Record<
  'state' | 'keep' | 'find' | 'add' | 'nextRun' | 'hasRun' | 'seals',
  StatementSync
>

function prepareStatements(db: DatabaseSync): Statements {
  return {
    state: db.prepare('select tree, compared from state'),
    keep: db.prepare('insert or replace into state values (1, ?, ?)'),
    find: db.prepare('select idx from seal where task = ? and run = ? and name = ?'),
    add: db.prepare('insert into seal (task, run, name, idx, leaf) values (?, ?, ?, ?, ?)'),
    nextRun: db.prepare(
      'select task, run from seal where (task, run) > (?, ?) and idx >= ? order by task, run limit 1',
    ),
    hasRun: db.prepare('select 1 from seal where task = ? and run = ? limit 1'),
    seals: db.prepare(
      `select name, idx, leaf from seal where task = ? and run = ?
       and (? is null or name > ?) and (? is null or name <= ?) order by name`,
    ),
  }
}

async function publish(db: DatabaseSync, draft: string, path: string): Promise<void> {
  db.close()
  {
    await using handle = await open(draft, 'r+')
    await handle.sync()
  }
  await rename(draft, path)
  await syncFolder(join(path, '..'))
}

function auditBase(folder: string, origin: string): string {
  return join(folder, `audit-${createHash('sha256').update(origin).digest('hex')}`)
}
