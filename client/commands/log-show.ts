/** `artifact log show`: the newest head of the log, and who signed it. */
import { z } from 'zod'
import { formatCount, formatMoment, sanitise } from '../terminal-format.ts'
import { fetchCheckpoint } from '../trust/log-files.ts'
import { openCheckpoint } from '../verify/checkpoint.ts'
import { formatFingerprint, formatNoteKey } from '../verify/note-key.ts'
import { parseNote } from '../verify/signed-note.ts'
import { formatBase64 } from '../verify/strict-text.ts'
import { defineCommand } from './command.ts'
import { connectServer } from './connection.ts'
import { findLogTrust } from './log-trust.ts'
import { trustOptions } from './trust.ts'

export const logShow = defineCommand({
  usage: ['log show [OPTION…]'],
  description:
    'Shows the newest signed head of the log of a server: origin, key, number of leaves, root, and the witnesses that cosigned. The signature is checked; the history is not: see artifact log verify.',
  options: trustOptions,
  positionals: z.object({}),
  examples: [
    { line: 'artifact log show', about: 'the newest head' },
    { line: 'artifact log show --json > head.json', about: 'the same for a program' },
  ],
  exits: {
    integrity: 'the head is not signed by the key of the log, or the server has no log',
    unreachable: 'the server cannot be reached',
  },
  async run({ options }, context) {
    const { terminal, globals, signal } = context
    await using connection = await connectServer(context)
    const { policy } = await findLogTrust(connection, options, context)
    const head = openCheckpoint(await fetchCheckpoint(connection, signal), policy)
    const cosignatures = head.cosignatures.map(({ witness, timeSeconds }) => ({
      witness: witness.name,
      key: formatNoteKey(witness.key),
      time: new Date(timeSeconds * 1000).toISOString(),
    }))
    const { name, id } = head.key
    const unknown = parseNote(head.note)
      .signatures.filter((one) => one.name !== name || one.id !== id)
      .filter((one) => !head.cosignatures.some(({ witness }) => witness.key.id === one.id))
      .map((one) => `${one.name}+${one.id}`)
    const root = formatBase64(head.root)
    if (globals.json)
      return await terminal.printJson({
        kind: 'log',
        origin: head.origin,
        key: formatNoteKey(head.key),
        size: head.size,
        root,
        cosignatures,
        unknown,
        checkpoint: head.note,
      })
    await terminal.print(
      `origin      ${sanitise(head.origin)}`,
      `key         ${sanitise(formatNoteKey(head.key))}`,
      `fingerprint ${formatFingerprint(head.key)}`,
      `size        ${formatCount(head.size, 'leaf').replace(/leafs$/, 'leaves')}`,
      `root        ${root}`,
      ...cosignatures.map(
        ({ witness, time }) => `cosigned    ${sanitise(witness)} at ${formatMoment(time)}`,
      ),
      ...unknown.map((each) => `signed      ${sanitise(each)}, whom the policy does not know`),
    )
  },
})
