/**
 * The one table of settings: `artifact serve --help`, the environment and the checks are made from it.
 */
import { z } from 'zod'
import { SealPolicy, SIZE_BYTES_MAX } from '../schemas/primitives.ts'
import { ArtifactError } from '../schemas/problems.ts'

/** What the log may say, from most to least. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const MIB = 1024 ** 2

/** One setting. Its flag is the key in kebab-case, its variable `ARTIFACT_` and the key in upper case. */
export interface Setting {
  placeholder: string
  summary: string
  /** From the text that was given; `undefined` when none was. */
  schema: z.ZodType<unknown, string | undefined>
  /** Given without a value on the command line. */
  isFlag?: boolean
  /** Only from the environment or a file: a command line can be read by every user of the machine. */
  isSecret?: boolean
}

const text = z.string().min(1).optional()

const whole = (min: number, max: number, fallback: number) =>
  z
    .string()
    .regex(/^[0-9]{1,15}$/, `expected a whole number from ${min} to ${max}`)
    .transform(Number)
    .pipe(z.number().min(min, `expected at least ${min}`).max(max, `expected at most ${max}`))
    .default(fallback)

const flag = z
  .enum(['true', 'false', '1', '0', ''], 'expected true or false')
  .transform((value) => value === 'true' || value === '1')
  .default(false)

const setting = <S extends Setting>(value: S): S => value

export const SETTINGS = {
  dataDir: setting({
    placeholder: 'DIR',
    summary:
      'Folder that holds everything [/var/lib/artifact as root, else ~/.local/share/artifact]',
    schema: text,
  }),
  host: setting({
    placeholder: 'HOST',
    summary: 'Address to listen on [127.0.0.1]',
    schema: z.string().min(1).default('127.0.0.1'),
  }),
  port: setting({
    placeholder: 'PORT',
    summary: 'Port to listen on, 0 for any free one [7420]',
    schema: whole(0, 65_535, 7420),
  }),
  databaseUrl: setting({
    placeholder: 'URL',
    summary: 'Postgres, as the role artifact_server [an embedded Postgres in the data folder]',
    schema: text,
    isSecret: true,
  }),
  databaseUrlFile: setting({
    placeholder: 'FILE',
    summary: 'File that holds --database-url',
    schema: text,
  }),
  migrationUrl: setting({
    placeholder: 'URL',
    summary: 'Postgres, as a role that may become artifact_owner; used at the start only',
    schema: text,
    isSecret: true,
  }),
  migrationUrlFile: setting({
    placeholder: 'FILE',
    summary: 'File that holds --migration-url',
    schema: text,
  }),
  signerUrl: setting({
    placeholder: 'URL',
    summary:
      'Postgres, as the role artifact_signer: sign the log in this process [with the embedded Postgres only]',
    schema: text,
    isSecret: true,
  }),
  signerUrlFile: setting({
    placeholder: 'FILE',
    summary: 'File that holds --signer-url',
    schema: text,
  }),
  signerDir: setting({
    placeholder: 'DIR',
    summary: 'Folder of the signer: its key and its memory [signer in the data folder]',
    schema: text,
  }),
  logOrigin: setting({
    placeholder: 'NAME',
    summary: 'Name of a new log, a URL without scheme [one made up at the first start]',
    schema: z
      .string()
      .max(255)
      .regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/, 'expected a URL without scheme')
      .optional(),
  }),
  witnessPolicyFile: setting({
    placeholder: 'FILE',
    summary: 'Witnesses that are asked to cosign every head, as C2SP tlog-policy with their URLs',
    schema: text,
  }),
  databaseConnections: setting({
    placeholder: 'N',
    summary: 'Most connections to Postgres [10]',
    schema: whole(2, 1000, 10),
  }),
  store: setting({
    placeholder: 'ADDRESS',
    summary: 'file:DIR or s3://BUCKET/PREFIX [file: in the data folder]',
    schema: text,
  }),
  s3Endpoint: setting({
    placeholder: 'URL',
    summary: 'Address of a store that speaks S3 [AWS]; its keys come from AWS_* variables',
    schema: z.url({ protocol: /^https?$/ }).optional(),
  }),
  s3Region: setting({
    placeholder: 'REGION',
    summary: 'Region of the bucket [us-east-1]',
    schema: z.string().min(1).default('us-east-1'),
  }),
  s3PathStyle: setting({
    placeholder: 'true|false',
    summary: 'Put the bucket in the path rather than the host name [true with --s3-endpoint]',
    schema: z
      .enum(['true', 'false'], 'expected true or false')
      .transform((value) => value === 'true')
      .optional(),
  }),
  grantSecretFile: setting({
    placeholder: 'FILE',
    summary: 'Key that signs grants of a file: store, 32 bytes or more [made in the data folder]',
    schema: text,
  }),
  adminTokenFile: setting({
    placeholder: 'FILE',
    summary: 'An admin token that is to exist, for a first sign-in without the local profile',
    schema: text,
  }),
  noProfile: setting({
    placeholder: '',
    summary: 'Do not write the local profile that lets commands on this machine just work',
    schema: flag,
    isFlag: true,
  }),
  publicRead: setting({
    placeholder: '',
    summary: 'Let anyone read artifacts whose name starts with public/',
    schema: flag,
    isFlag: true,
  }),
  sealPolicy: setting({
    placeholder: 'reread|parts',
    summary:
      'What must be seen before a seal: all bytes again, or the check of every part [reread]',
    schema: SealPolicy.default('reread'),
  }),
  partSizeBytes: setting({
    placeholder: 'N',
    summary: 'Preferred size of a part [8388608]',
    schema: whole(1, 5 * 1024 * MIB, 8 * MIB),
  }),
  sizeBytesMax: setting({
    placeholder: 'N',
    summary: 'Largest artifact [no limit but that of the store]',
    schema: z
      .string()
      .regex(/^[0-9]{1,19}$/, 'expected a number of bytes')
      .transform(BigInt)
      .refine((bytes) => bytes <= SIZE_BYTES_MAX, 'expected at most 2^63 - 1')
      .default(SIZE_BYTES_MAX),
  }),
  openUploadsMax: setting({
    placeholder: 'N',
    summary: 'Uploads that one token may keep open [1000]',
    schema: whole(1, 1_000_000, 1000),
  }),
  uploadTtlSeconds: setting({
    placeholder: 'N',
    summary: 'An upload without a sign of life expires after this [259200, three days]',
    schema: whole(60, 31_536_000, 259_200),
  }),
  grantTtlSeconds: setting({
    placeholder: 'N',
    summary: 'Grants expire after this, 900 at most [600]',
    schema: whole(1, 900, 600),
  }),
  rereadConcurrency: setting({
    placeholder: 'N',
    summary: 'Objects that are re-read at the same time [4]',
    schema: whole(1, 64, 4),
  }),
  requestMemoryBytes: setting({
    placeholder: 'N',
    summary: 'What large requests and answers hold together; later ones wait [41943040, 40 MiB]',
    schema: whole(MIB, 1024 ** 4, 40 * MIB),
  }),
  watchersMax: setting({
    placeholder: 'N',
    summary: 'Event streams at the same time [500]',
    schema: whole(1, 100_000, 500),
  }),
  eventTtlSeconds: setting({
    placeholder: 'N',
    summary: 'Events are kept this long for those who reconnect [3600]',
    schema: whole(60, 2_592_000, 3600),
  }),
  sweepSeconds: setting({
    placeholder: 'N',
    summary: 'How often abandoned uploads are looked for [60]',
    schema: whole(1, 86_400, 60),
  }),
  reverifyDays: setting({
    placeholder: 'N',
    summary: 'Stored bytes are read and hashed again after this many days, 0 for never [30]',
    schema: whole(0, 3650, 30),
  }),
  reverifyBytesPerSecond: setting({
    placeholder: 'N',
    summary: 'How fast they are read, by all servers together [33554432, 32 MiB]',
    schema: whole(1, 1_000_000_000_000, 32 * MIB),
  }),
  shutdownSeconds: setting({
    placeholder: 'N',
    summary: 'Time that requests have to end when the server stops [30]',
    schema: whole(0, 3600, 30),
  }),
  logLevel: setting({
    placeholder: LOG_LEVELS.join('|'),
    summary: 'What is logged to stderr [info]',
    schema: z.enum(LOG_LEVELS).default('info'),
  }),
} as const satisfies Record<string, Setting>

export type SettingKey = keyof typeof SETTINGS

/** What was said, as text, before any check. */
export type RawSettings = Partial<Record<SettingKey, string | undefined>>

/** The variable of a setting: `dataDir` is `ARTIFACT_DATA_DIR`. */
export function variableOf(key: SettingKey): string {
  return `ARTIFACT_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
}

/** Every `ARTIFACT_*` variable that the server knows. */
export function serverVariables(): string[] {
  return settingKeys().map(variableOf)
}

/** The settings after their schemas: defaults filled in, numbers are numbers. */
export type Said = { [Key in SettingKey]: z.output<(typeof SETTINGS)[Key]['schema']> }

const settingsSchema = z.object(
  Object.fromEntries(Object.entries(SETTINGS).map(([key, { schema }]) => [key, schema])),
)

/** Throws `configuration` naming the setting, what was expected and, unless it is a secret, what was found. */
export function parseSettings(raw: RawSettings): Said {
  const result = settingsSchema.safeParse(raw)
  // tidy: cast - the shape was made from the table that the type is made from
  if (result.success) return result.data as Said
  const issue = result.error.issues[0]
  const key = String(issue?.path[0])
  const known = settingKeys().find((each) => each === key)
  throw new ArtifactError(
    'configuration',
    `Cannot read the setting ${known === undefined ? key : `${flagOf(known)} (${variableOf(known)})`}`,
    {
      expected: issue?.message,
      found: known !== undefined && !isSecret(known) ? raw[known] : undefined,
    },
  )
}

/** Whether its value must never be shown. */
export function isSecret(key: SettingKey): boolean {
  const known: Setting = SETTINGS[key]
  return known.isSecret === true
}

/** The flag of a setting: `dataDir` is `--data-dir`. */
export function flagOf(key: SettingKey): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** The keys of all settings, in the order of the table. */
export function settingKeys(): SettingKey[] {
  return Object.keys(SETTINGS).filter((key): key is SettingKey => key in SETTINGS)
}
