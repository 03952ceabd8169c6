/** The commands of the client, in the order in which the help names them. */
import type { CommandEntry } from './command.ts'

export const clientCommands: readonly CommandEntry[] = [
  {
    name: 'upload',
    summary: 'Upload files, a folder or a stream, and seal them',
    asksServer: true,
    load: async () => (await import('./upload.ts')).upload,
  },
  {
    name: 'get',
    summary: 'Get an artifact or a whole run, verified or not at all',
    asksServer: true,
    load: async () => (await import('./get.ts')).get,
  },
  {
    name: 'ls',
    summary: 'List tasks, the runs of a task, or the artifacts of a run',
    asksServer: true,
    load: async () => (await import('./ls.ts')).ls,
  },
  {
    name: 'info',
    summary: 'Show the record of an artifact',
    asksServer: true,
    load: async () => (await import('./info.ts')).info,
  },
  {
    name: 'watch',
    summary: 'Watch uploads as they run',
    load: async () => (await import('./watch.ts')).watch,
  },
  {
    name: 'inspect',
    summary: 'Print a link that opens the inspector in a browser',
    load: async () => (await import('./inspect.ts')).inspect,
  },
  {
    name: 'checksums',
    summary: 'Write the SHA256SUMS of a run, from the record',
    asksServer: true,
    load: async () => (await import('./checksums.ts')).checksums,
  },
  {
    name: 'verify',
    summary: 'Check a local file against the record',
    load: async () => (await import('./verify.ts')).verify,
  },
  {
    name: 'lock add',
    summary: 'Pin artifacts in a lock file, for machines without memory',
    load: async () => (await import('./lock-add.ts')).lockAdd,
  },
  {
    name: 'lock check',
    summary: 'Check that the record is what a lock file pins',
    load: async () => (await import('./lock-check.ts')).lockCheck,
  },
  {
    name: 'abort',
    summary: 'Abort an upload; its name stays free',
    load: async () => (await import('./abort.ts')).abort,
  },
  {
    name: 'log show',
    summary: 'Show the newest signed head of the log',
    load: async () => (await import('./log-show.ts')).logShow,
  },
  {
    name: 'log verify',
    summary: 'Audit the log: every entry and every record',
    load: async () => (await import('./log-verify.ts')).logVerify,
  },
  {
    name: 'revoke',
    summary: 'Say in the log that an artifact must not be used any more',
    load: async () => (await import('./revoke.ts')).revoke,
  },
  {
    name: 'remove',
    summary: 'Remove the bytes of an artifact, and say so in the log',
    load: async () => (await import('./revoke.ts')).remove,
  },
  {
    name: 'token create',
    summary: 'Make a token, and show its secret this once',
    load: async () => (await import('./token-create.ts')).tokenCreate,
  },
  {
    name: 'token ls',
    summary: 'List tokens, without their secrets',
    load: async () => (await import('./token-ls.ts')).tokenLs,
  },
  {
    name: 'token revoke',
    summary: 'Revoke a token, at once and for good',
    load: async () => (await import('./token-revoke.ts')).tokenRevoke,
  },
  {
    name: 'completion',
    summary: 'Print a script that completes artifact in bash or zsh',
    load: async () => (await import('./completion.ts')).completion,
  },
]
