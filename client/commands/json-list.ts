/** A JSON object with a list in it that is written while it grows: of very many items none is kept. */
import type { Terminal } from '../terminal.ts'
import { formatJson } from '../terminal-format.ts'

/** Written at once. */
const CHARACTERS = 64 * 1024

export interface JsonList {
  /** Adds an item behind those before it; waits when the reader is slow. `lead` are the members before the list. */
  add(lead: object, item: unknown): Promise<void>
  /** Writes the end of the list, the members `after` it, and the end of the line. */
  end(lead: object, after: object): Promise<void>
}

/**
 * Writes what `printJson` writes of `{...lead, [key]: [...items], ...after}`. Nothing is written before
 * the first item or the end; the lead of whichever comes first counts.
 */
export function openJsonList(terminal: Pick<Terminal, 'write'>, key: string): JsonList {
  let text = ''
  let count = 0
  let isBegun = false
  let last: Promise<void> = Promise.resolve()
  const begin = (lead: object) => {
    if (!isBegun) text = `${openObject(lead)}${formatJson(key)}:[`
    isBegun = true
  }
  const flush = (): Promise<void> => {
    const bytes = Buffer.from(text)
    text = ''
    last = last.then(() => terminal.write(bytes))
    return last
  }
  return {
    async add(lead, item) {
      begin(lead)
      text += `${count++ === 0 ? '' : ','}${formatJson(item)}`
      if (text.length >= CHARACTERS) await flush()
    },
    async end(lead, after) {
      begin(lead)
      const rest = formatJson(after)
      text += `]${rest === '{}' ? '' : ','}${rest.slice(1)}\n`
      await flush()
    },
  }
}

/** An object up to where its next member begins. */
function openObject(members: object): string {
  const text = formatJson(members)
  return text === '{}' ? '{' : `${text.slice(0, -1)},`
}
