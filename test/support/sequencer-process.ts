/**
 * One of many sequencers, as a process that can be killed: seals COUNT artifacts named by PREFIX, four
 * at a time, and says the name of each once it is sealed.
 */

import { createSequencer } from '../../server/log/sequencer.ts'
import { openDatabase } from '../../server/records/database.ts'
import { openOutbox } from '../../server/records/outbox.ts'
import { sealName } from './sealing.ts'

const [, , url = '', prefix = '', count = '0'] = process.argv
await using database = await openDatabase({ url, connectionsMax: 4 })
await using outbox = openOutbox(database.sql, (error) => {
  throw error
})
const sequencer = createSequencer(outbox, () => new Date())
const names = Array.from({ length: Number(count) }, (_, index) => `${prefix}-${index}`)
await Promise.all(
  Array.from({ length: 4 }, async () => {
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      await sealName(database.sql, sequencer, name)
      process.stdout.write(`${name}\n`)
    }
  }),
)
