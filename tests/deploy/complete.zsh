# Types each of the words after the first at a real zsh, asks for completion, and prints what came of it. The first
# argument is the folder with the completion; check.sh calls it.
zmodload zsh/zpty
folder=$1
shift
zpty shell zsh -f -i
zpty -w shell "PS1='ready> '; stty cols 200; fpath=($folder \$fpath); autoload -Uz compinit; compinit -u -D; bindkey '^I' complete-word"
zpty -w shell "print loaded-\$(( 6 * 7 ))"
# The echo of the command does not hold its answer.
zpty -r -m shell said '*loaded-42*'
for words in "$@"; do
    zpty -w -n shell "imagekit-bulk-delete $words"$'\t'
    # What stands there after the completion is printed, not run.
    zpty -w -n shell $'\C-a''print -r -- ''\C-e'$'\n'
done
zpty -w shell "print done-\$(( 6 * 7 ))"
zpty -r -m shell said '*done-42*'
print -r -- "$said"
zpty -d shell
