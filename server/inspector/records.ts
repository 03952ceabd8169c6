/** Pages of what is sealed: tasks, runs, artifacts, search and the log. */
import type { App } from '../http/mount.ts'
import { mountArtifactPage } from './artifact-page.ts'
import { mountLogPage } from './log-page.ts'
import type { InspectorParts } from './page.ts'
import { mountRunPage } from './run-page.ts'
import { mountSearchPage } from './search-page.ts'
import { mountTaskPage } from './task-page.ts'
import { mountTasksPage } from './tasks-page.ts'

/** Mounts the pages of the records. */
export function mountRecordPages(app: App, parts: InspectorParts): void {
  mountTasksPage(app, parts)
  mountTaskPage(app, parts)
  mountRunPage(app, parts)
  mountArtifactPage(app, parts)
  mountSearchPage(app, parts)
  mountLogPage(app, parts)
}
