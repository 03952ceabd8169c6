/** `artifact completion`: the script that makes a shell complete `artifact` by Tab. */
import { z } from 'zod'
import { defineCommand, positionalChoice } from './command.ts'

const BASH = `# Completion of artifact for bash.
_artifact_complete() {
  local IFS=$'\\n'
  COMPREPLY=($(artifact --get-completions -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _artifact_complete artifact`

const ZSH = `#compdef artifact
# Completion of artifact for zsh.
_artifact() {
  local -a found
  found=("\${(@f)$(artifact --get-completions -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[*]}" ]]; then compadd -- "\${found[@]}"; else _files; fi
}
compdef _artifact artifact`

export const completion = defineCommand({
  usage: ['completion bash|zsh'],
  description:
    'Prints a script for the shell. Load it where the shell starts, for example in ~/.bashrc.',
  options: z.object({}),
  positionals: z.object({
    shell: positionalChoice('SHELL', 'bash or zsh', ['bash', 'zsh']),
  }),
  connects: false,
  examples: [
    { line: 'eval "$(artifact completion bash)"', about: 'complete in this bash' },
    { line: 'artifact completion zsh > _artifact', about: 'make a file for the fpath of zsh' },
  ],
  exits: {},
  run: ({ positionals }, { terminal }) => terminal.print(positionals.shell === 'bash' ? BASH : ZSH),
})
