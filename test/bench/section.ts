/** What a part of the benchmark found, and how it is told. */

/** A table for people, and every sample for machines. */
export interface Section {
  /** Also the heading in the README. */
  title: string
  /** On which files and store, with which tools. */
  about: string
  /** Lines of Markdown. */
  text: string
  /** As JSON can hold it. */
  data: unknown
}

/** Takes what a part says while it runs; the second is for those who wait. */
export interface Voice {
  show(section: Section): void
  report(text: string): void
}
