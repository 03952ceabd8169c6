/** Settings of the server as options of a command. */
import { z } from 'zod'
import { option } from '../../client/commands/command.ts'
import {
  type RawSettings,
  SETTINGS,
  type Setting,
  type SettingKey,
  variableOf,
} from '../settings.ts'

/** One option per setting; values are checked where all settings are, whatever their source. */
export function settingOptions(keys: readonly SettingKey[]): Record<string, z.ZodType> {
  return Object.fromEntries(
    keys.map((key) => {
      const { placeholder, summary, isFlag }: Setting = SETTINGS[key]
      const facts = { summary, variable: variableOf(key) }
      return [
        key,
        isFlag === true
          ? option(z.boolean().default(false), { kind: 'flag', ...facts })
          : option(z.string().optional(), { kind: 'text', placeholder, ...facts }),
      ]
    }),
  )
}

/** What was given of these on the command line, as text. */
export function readFlags(
  keys: readonly SettingKey[],
  options: Record<string, unknown>,
): RawSettings {
  const flags: RawSettings = {}
  for (const key of keys) {
    const value = options[key]
    if (typeof value === 'string') flags[key] = value
    else if (value === true) flags[key] = 'true'
  }
  return flags
}
