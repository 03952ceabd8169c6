/** Files of several sizes and folders of many files, up and down, by everybody. */
import { rm } from 'node:fs/promises'
import { type Field, findRoomObstacle, openField } from './field.ts'
import { formatSize, makeFile, makeFolder } from './loads.ts'
import type { Options } from './options.ts'
import { runRounds, type Verb } from './rounds.ts'
import type { Voice } from './section.ts'
import { formatResult } from './table.ts'
import type { Load } from './tools.ts'

/** Measures uploads and gets of files; a size that has no room here is named and left out. */
export async function measureFiles(options: Options, program: string, voice: Voice): Promise<void> {
  const verbs = options.only.filter((part) => part === 'upload' || part === 'get')
  for (const bytes of options.sizes) {
    const obstacle = findRoomObstacle(bytes, options)
    if (obstacle === undefined) {
      await using field = await openField({ options, program, bytes })
      await measureLoad(field, verbs, await makeFile(field.folder, bytes), options, voice)
    } else {
      const text = `Left out: ${obstacle}.`
      voice.show({ title: `files of ${formatSize(bytes)}`, about: '', text, data: { obstacle } })
    }
  }
}

/** Measures folders, up and down. */
export async function measureFolders(
  options: Options,
  program: string,
  voice: Voice,
): Promise<void> {
  for (const { files, each } of options.folders) {
    // Small files take a block each, wherever they lie.
    const bytes = files * Math.max(each, 4096)
    await using field = await openField({ options, program, bytes })
    await measureLoad(
      field,
      ['upload', 'get'],
      await makeFolder(field.folder, files, each),
      options,
      voice,
    )
  }
}

/** Measures one load in all ways, over what is open. */
export async function measureLoad(
  field: Field,
  verbs: readonly Verb[],
  load: Load,
  options: Options,
  voice: Voice,
): Promise<void> {
  for (const verb of verbs) {
    const result = await runRounds(verb, field.tools, load, options.rounds, voice.report)
    voice.show({
      title: `${verb} ${load.title}`,
      text: formatResult(result),
      about: field.about,
      data: result,
    })
  }
  await rm(load.path, { recursive: true })
}
