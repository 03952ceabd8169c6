/** Pages of what is sealed: tasks, runs, artifacts, search and the log. */
import type { App } from '../http/mount.ts'
import type { InspectorParts } from './page.ts'

/** Mounts the pages of the records. */
export function mountRecordPages(_app: App, _parts: InspectorParts): void {}
