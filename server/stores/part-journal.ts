/**
 * Which parts of an unfinished blob are on the disk: one record per part, appended after its bytes
 * are durable.
 *
 *     journal = *record
 *     record  = LF number SP size SP sha256 LF
 *
 * For example `\n3 16777216 9f86…0a08\n`. A crash can tear the last record; since every record also
 * begins with a line feed, it never spoils the one that comes after. A record that was lost means
 * that the part is sent again, which is safe; one that is there means that its bytes are.
 */
import { readFile } from 'node:fs/promises'
import type { Part } from '../../schemas/artifact.ts'

const RECORD = /^([1-9][0-9]{0,4}) ([1-9][0-9]{0,15}) ([0-9a-f]{64})$/

/** One record; {@link parseJournal} reads it back. */
export function formatJournalRecord(part: Part): string {
  return `\n${part.number} ${part.sizeBytes} ${part.sha256}\n`
}

/** The parts by number. What is not a whole record is as good as not there. */
export function parseJournal(text: string): Map<number, Part> {
  const parts = new Map<number, Part>()
  // What follows the last line feed is torn, however much it looks like a record.
  for (const line of text.split('\n').slice(0, -1)) {
    const [, number, sizeBytes, sha256] = RECORD.exec(line) ?? []
    if (number === undefined || sizeBytes === undefined || sha256 === undefined) continue
    parts.set(Number(number), { number: Number(number), sizeBytes: Number(sizeBytes), sha256 })
  }
  return parts
}

/** Reads the journal at `path`; empty when there is none yet. */
export async function readJournal(path: string): Promise<Map<number, Part>> {
  try {
    return parseJournal(await readFile(path, 'latin1'))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return new Map()
    throw error
  }
}
