/** Changes that people watch: committed without waiting for each other, and announced afterwards. */
import type { Sql, Transaction } from './database.ts'
import { announceEvents } from './events.ts'

export interface Outbox extends AsyncDisposable {
  /**
   * Runs a change that ends with `appendUploadEvents` as one transaction. Once it is committed all
   * servers are told, soon and together with other changes; whoever watches finds it by itself, a
   * moment later, should this process die before that.
   */
  change<T>(action: (tx: Transaction) => Promise<T>): Promise<T>
  /** The same for a change that is one statement, and so a transaction of its own. */
  changeAtOnce<T>(action: (sql: Sql) => Promise<T>): Promise<T>
}

/** At least so long between two announcements of a server, however much it commits. */
const SPACING_MS = 50

/**
 * Opens the outbox of this process. A NOTIFY within the change would make every commit of the database
 * wait for the disk behind the one before it (`PreCommit_Notify` of Postgres takes a lock that it keeps
 * until the commit is flushed), and would wake every server for each of them. `onFault` gets what
 * hinders an announcement; the change itself has happened.
 */
export function openOutbox(sql: Sql, onFault: (error: unknown) => void): Outbox {
  let isDue = false
  let announcing = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  const announce = (): void => {
    isDue = false
    announcing = announceEvents(sql).catch(onFault)
    timer = setTimeout(() => {
      timer = undefined
      if (isDue) announce()
    }, SPACING_MS)
    timer.unref()
  }

  const announceSoon = () => {
    if (timer === undefined) announce()
    else isDue = true
  }

  return {
    async change(action) {
      const { result } = await sql.begin(async (tx) => ({ result: await action(tx) }))
      announceSoon()
      return result
    },
    async changeAtOnce(action) {
      const result = await action(sql)
      announceSoon()
      return result
    },
    async [Symbol.asyncDispose]() {
      clearTimeout(timer)
      if (isDue) announce()
      clearTimeout(timer)
      await announcing
    },
  }
}
