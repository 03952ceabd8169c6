import { formatNoteKey, type NoteKey, parseNoteKey } from '../../client/verify/note-key.ts'
import { ArtifactError } from '../../schemas/problems.ts'

/** The key of a log that is witnessed; its name is the origin of the log. */
export type LogKey = NoteKey

/** Reads the key of a log; throws `usage` for anything else, the key of a witness included. */
export function parseLogKey(text: string): LogKey {
  const key = parseNoteKey(text)
  if (key.kind === 'note') return key
  throw new ArtifactError('usage', 'Cannot witness: the key is not one of a log', {
    expected: 'a key of type 1',
    found: formatNoteKey(key),
  })
}
