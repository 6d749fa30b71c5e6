# Completion of multitalk for bash, made by: multitalk completion show bash
# shellcheck shell=bash

__multitalk_place() {
    local shared='--json --quiet -q --debug --no-color --progress --help -h'
    commands='' options=$shared arguments=()
    case $1 in
        '')
            options="--version -V $shared"
            commands='generate batch demo finish redo inspect verify compare login setup-secrets deploy download upload-weights doctor status warm cool bench ffmpeg explain help jobs s3 config completion'
            ;;
        'generate')
            options="--prompt -p --output -o --speaker --order --size --fit --fps --preset --steps --sample-steps --seed --seeds --plan --dry-run --max-cost --backend --gpu --first --detach --fail-under --upload --upload-to --force -f --help-all --tier --lora --text-guidance --text-gate --audio-guidance --shift --negative-prompt --background --loudness --no-loudness --rotate --sound-level --trim-silence --no-trim-silence --audio-track --weights --device --stack --attention --app --environment --persistent-params --vram-params --keep-inputs --no-keep-inputs --sidecar --no-sidecar --embed-prompt --no-embed-prompt --help -h $shared"
            arguments=(':pictures' ':sounds')
            repeated=1
            ;;
        'batch')
            options="--pairs --output -o --prompt -p --seed --seeds --plan --dry-run --first --parallel --budget --fail-fast --report --max-cost --backend --gpu --size --fit --fps --order --preset --steps --sample-steps --force -f --help-all --tier --lora --text-gate --negative-prompt --text-guidance --audio-guidance --shift --background --loudness --no-loudness --rotate --sound-level --trim-silence --no-trim-silence --audio-track --weights --device --stack --attention --app --environment --persistent-params --vram-params --keep-inputs --no-keep-inputs --sidecar --no-sidecar --embed-prompt --no-embed-prompt --fail-under --help -h $shared"
            arguments=(':files')
            repeated=0
            ;;
        'demo')
            options="--force -f --help -h $shared"
            ;;
        'finish')
            options="--output -o --max-cost --detach --force -f --weights --app --environment --help -h $shared"
            arguments=(':nothing')
            repeated=1
            ;;
        'redo')
            options="--image --voice --seed --prompt -p --output -o --speaker --order --size --fit --fps --preset --steps --sample-steps --seeds --plan --dry-run --max-cost --backend --gpu --first --detach --fail-under --upload --upload-to --force -f --help-all --tier --lora --text-guidance --text-gate --audio-guidance --shift --negative-prompt --background --loudness --no-loudness --rotate --sound-level --trim-silence --no-trim-silence --audio-track --weights --device --stack --attention --app --environment --persistent-params --vram-params --keep-inputs --no-keep-inputs --sidecar --no-sidecar --embed-prompt --no-embed-prompt --help -h $shared"
            arguments=(':files')
            repeated=0
            ;;
        'inspect')
            options="--help -h $shared"
            arguments=(':files')
            repeated=0
            ;;
        'verify')
            options="--help -h $shared"
            arguments=(':files' ':files')
            repeated=1
            ;;
        'compare')
            options="--help -h $shared"
            arguments=(':files' ':files')
            repeated=0
            ;;
        'login')
            options="--stdin --help -h $shared"
            ;;
        'setup-secrets')
            options="--only --from-env --profile --from-hub --from-file --stdin --bucket --region --endpoint-url --update --force -f --no-verify --environment --app --help -h $shared"
            ;;
        'deploy')
            options="--stack --gpu --environment --app --dry-run --help -h $shared"
            ;;
        'download')
            options="--to --precision --yes -y --detach --cancel --verify --repair --prune --list --lora --preset --revision --app --environment --help -h $shared"
            ;;
        'upload-weights')
            options="--app --environment --help -h $shared"
            arguments=(':folders')
            repeated=0
            ;;
        'doctor')
            options="--all --gpu --model --report --force -f --yes -y --environment --app --help -h $shared"
            ;;
        'status')
            options="--gpu --stack --app --environment --help -h $shared"
            ;;
        'warm')
            options="--gpu --stack --app --environment --help -h $shared"
            arguments=(':nothing')
            repeated=0
            ;;
        'cool')
            options="--gpu --stack --app --environment --help -h $shared"
            ;;
        'bench')
            options="--gpu --stack --attention --size --persons --steps --quality --yes -y --app --environment --help -h $shared"
            ;;
        'ffmpeg')
            options="--help -h $shared"
            arguments=(':files')
            repeated=1
            ;;
        'explain')
            options="--help -h $shared"
            arguments=('E_BUG E_USAGE E_RANGE E_CONFLICT E_MANIFEST E_UNKNOWN_CODE E_SETTING E_URL E_SWAPPED E_TOO_MANY_VOICES E_SAME_VOICE E_SPEAKER E_OUTPUT_NAME E_CONFIG E_FILE_MISSING E_FILE_UNREADABLE E_IMAGE_FORMAT E_IMAGE_BROKEN E_IMAGE_SIZE E_AUDIO_FORMAT E_AUDIO_BROKEN E_AUDIO_NONE E_AUDIO_SILENT E_AUDIO_LENGTH E_VIDEO_BROKEN E_RECIPE E_RECIPE_INPUT E_OUTPUT_EXISTS E_ROW_FILES E_OUTPUT_TAKEN E_OUTPUT_PATH E_DISK_FULL E_FFMPEG E_NO_BACKEND E_NO_FFMPEG E_WEIGHTS E_LOCAL_EXTRA E_CONTRACT E_COST E_MAX_COST E_ROW_COST E_NO_TOKEN E_TOKEN E_PERMISSION E_MODAL_CONFIG E_NOT_DEPLOYED E_WEIGHTS_MISSING E_ENVIRONMENT E_SECRET_EXISTS E_NO_SECRET E_SECRET_INCOMPLETE E_SECRET_SOURCE E_SECRET_VALUE E_SECRET_FILE E_REMOTE_PACKAGE E_DEPLOY E_NO_JOB E_NOT_FIRST E_NO_ARGUMENTS E_LEDGER E_EXPIRED E_S3_ADDRESS E_S3_UNSET E_S3_CREDENTIALS E_S3_EXPIRED E_CERTIFICATE E_PROXY E_S3_CLOCK E_S3_BUCKET E_S3_KEY E_S3_DENIED E_S3_ARCHIVED E_S3_ENDPOINT E_S3_REGION E_S3_CHANGED E_S3_EXISTS E_S3_NETWORK E_STORAGE E_HUB_NETWORK E_HUB_THROTTLED E_HUB_TOKEN E_HUB_MISSING E_HUB_CHANGED E_HUB E_LORA E_LORA_MISSING E_DOWNLOAD_RUNS E_DISK_SPACE E_UNFINISHED E_OUT_OF_MEMORY E_ATTENTION E_MODEL_DIFFERS E_START E_REQUEST E_TIMEOUT E_CANCELLED E_DUPLICATE E_NETWORK E_CAPACITY E_MODAL_VERSION E_BILLING E_SPENDING_LIMIT E_PAYMENT_METHOD E_GPU_TOO_SMALL E_GPU_STACK E_CHANGED E_TIER E_ATTENTION_STACK E_QUALITY E_CPU_ONLY E_NOT_FINITE E_BLACK E_FROZEN E_GPU_FAILED E_REMOTE E_ROWS E_DECLINED E_INTERRUPTED')
            repeated=0
            ;;
        'help')
            options="--help -h $shared"
            arguments=('generate batch demo finish redo inspect verify compare login setup-secrets deploy download upload-weights doctor status warm cool bench ffmpeg explain help jobs s3 config completion')
            repeated=1
            ;;
        'jobs')
            options="--help -h $shared"
            commands='ls show attach wait fetch cancel rerun logs prune cost'
            ;;
        'jobs ls')
            options="--state --since --search --total --remote --limit --app --environment --help -h $shared"
            ;;
        'jobs show')
            options="--app --environment --help -h $shared"
            arguments=(':jobs')
            repeated=0
            ;;
        'jobs attach')
            options="--output -o --force -f --app --environment --help -h $shared"
            arguments=(':jobs')
            repeated=0
            ;;
        'jobs wait')
            options="--app --environment --help -h $shared"
            arguments=(':jobs')
            repeated=1
            ;;
        'jobs fetch')
            options="--all --output -o --force -f --app --environment --help -h $shared"
            arguments=(':jobs')
            repeated=1
            ;;
        'jobs cancel')
            options="--app --environment --help -h $shared"
            arguments=(':jobs')
            repeated=1
            ;;
        'jobs rerun')
            options="--failed --since --gpu --max-cost --detach --yes -y --app --environment --help -h $shared"
            arguments=(':jobs')
            repeated=1
            ;;
        'jobs logs')
            options="--follow --app --environment --help -h $shared"
            arguments=(':jobs')
            repeated=0
            ;;
        'jobs prune')
            options="--older-than --yes -y --help -h $shared"
            ;;
        'jobs cost')
            options="--since --by --check --app --environment --help -h $shared"
            ;;
        's3')
            options="--help -h $shared"
            commands='ls get put url'
            ;;
        's3 ls')
            options="--recursive -r --limit --profile --endpoint-url --requester-pays --help -h $shared"
            arguments=(':keys')
            repeated=0
            ;;
        's3 get')
            options="--latest --output -o --force -f --profile --endpoint-url --requester-pays --help -h $shared"
            arguments=(':keys')
            repeated=1
            ;;
        's3 put')
            options="--force -f --profile --endpoint-url --requester-pays --help -h $shared"
            arguments=(':files')
            repeated=1
            ;;
        's3 url')
            options="--expires --profile --endpoint-url --requester-pays --help -h $shared"
            arguments=(':keys')
            repeated=0
            ;;
        'config')
            options="--help -h $shared"
            commands='show path set unset'
            ;;
        'config show')
            options="--help -h $shared"
            ;;
        'config path')
            options="--help -h $shared"
            ;;
        'config set')
            options="--project --help -h $shared"
            arguments=('backend gpu stack attention app environment persistent_params keep_inputs size fit background fps order preset tier sample_steps lora text_gate text_guidance audio_guidance shift negative_prompt loudness sound_level rotate trim_silence audio_track max_cost weights device fail_under bucket sidecar embed_prompt' ':nothing')
            repeated=0
            ;;
        'config unset')
            options="--project --help -h $shared"
            arguments=('backend gpu stack attention app environment persistent_params keep_inputs size fit background fps order preset tier sample_steps lora text_gate text_guidance audio_guidance shift negative_prompt loudness sound_level rotate trim_silence audio_track max_cost weights device fail_under bucket sidecar embed_prompt')
            repeated=0
            ;;
        'completion')
            options="--help -h $shared"
            commands='install show'
            ;;
        'completion install')
            options="--force -f --help -h $shared"
            arguments=('bash zsh fish')
            repeated=0
            ;;
        'completion show')
            options="--help -h $shared"
            arguments=('bash zsh fish')
            repeated=0
            ;;
        *) return 1 ;;
    esac
}

__multitalk_value() {
    case "$1 $2" in
        *--progress)
            value='auto bars plain json none'
            ;;
        'generate '--prompt | \
            'generate '-p | \
            'generate '--size | \
            'generate '--fps | \
            'generate '--steps | \
            'generate '--sample-steps | \
            'generate '--seed | \
            'generate '--seeds | \
            'generate '--max-cost | \
            'generate '--fail-under | \
            'generate '--upload-to | \
            'generate '--lora | \
            'generate '--text-guidance | \
            'generate '--text-gate | \
            'generate '--audio-guidance | \
            'generate '--shift | \
            'generate '--negative-prompt | \
            'generate '--background | \
            'generate '--sound-level | \
            'generate '--audio-track | \
            'generate '--app | \
            'generate '--environment | \
            'generate '--persistent-params | \
            'generate '--vram-params | \
            'batch '--prompt | \
            'batch '-p | \
            'batch '--seed | \
            'batch '--seeds | \
            'batch '--parallel | \
            'batch '--budget | \
            'batch '--max-cost | \
            'batch '--size | \
            'batch '--fps | \
            'batch '--steps | \
            'batch '--sample-steps | \
            'batch '--lora | \
            'batch '--text-gate | \
            'batch '--negative-prompt | \
            'batch '--text-guidance | \
            'batch '--audio-guidance | \
            'batch '--shift | \
            'batch '--background | \
            'batch '--sound-level | \
            'batch '--audio-track | \
            'batch '--app | \
            'batch '--environment | \
            'batch '--persistent-params | \
            'batch '--vram-params | \
            'batch '--fail-under | \
            'finish '--max-cost | \
            'finish '--app | \
            'finish '--environment | \
            'redo '--prompt | \
            'redo '-p | \
            'redo '--size | \
            'redo '--fps | \
            'redo '--steps | \
            'redo '--sample-steps | \
            'redo '--seeds | \
            'redo '--max-cost | \
            'redo '--fail-under | \
            'redo '--upload-to | \
            'redo '--lora | \
            'redo '--text-guidance | \
            'redo '--text-gate | \
            'redo '--audio-guidance | \
            'redo '--shift | \
            'redo '--negative-prompt | \
            'redo '--background | \
            'redo '--sound-level | \
            'redo '--audio-track | \
            'redo '--app | \
            'redo '--environment | \
            'redo '--persistent-params | \
            'redo '--vram-params | \
            'setup-secrets '--profile | \
            'setup-secrets '--bucket | \
            'setup-secrets '--region | \
            'setup-secrets '--endpoint-url | \
            'setup-secrets '--environment | \
            'setup-secrets '--app | \
            'deploy '--environment | \
            'deploy '--app | \
            'download '--lora | \
            'download '--revision | \
            'download '--app | \
            'download '--environment | \
            'upload-weights '--app | \
            'upload-weights '--environment | \
            'doctor '--environment | \
            'doctor '--app | \
            'status '--app | \
            'status '--environment | \
            'warm '--app | \
            'warm '--environment | \
            'cool '--app | \
            'cool '--environment | \
            'bench '--size | \
            'bench '--steps | \
            'bench '--app | \
            'bench '--environment | \
            'jobs ls '--state | \
            'jobs ls '--since | \
            'jobs ls '--search | \
            'jobs ls '--limit | \
            'jobs ls '--app | \
            'jobs ls '--environment | \
            'jobs show '--app | \
            'jobs show '--environment | \
            'jobs attach '--app | \
            'jobs attach '--environment | \
            'jobs wait '--app | \
            'jobs wait '--environment | \
            'jobs fetch '--app | \
            'jobs fetch '--environment | \
            'jobs cancel '--app | \
            'jobs cancel '--environment | \
            'jobs rerun '--since | \
            'jobs rerun '--max-cost | \
            'jobs rerun '--app | \
            'jobs rerun '--environment | \
            'jobs logs '--app | \
            'jobs logs '--environment | \
            'jobs prune '--older-than | \
            'jobs cost '--since | \
            'jobs cost '--by | \
            'jobs cost '--app | \
            'jobs cost '--environment | \
            's3 ls '--limit | \
            's3 ls '--profile | \
            's3 ls '--endpoint-url | \
            's3 get '--profile | \
            's3 get '--endpoint-url | \
            's3 put '--profile | \
            's3 put '--endpoint-url | \
            's3 url '--expires | \
            's3 url '--profile | \
            's3 url '--endpoint-url)
            value=':nothing'
            ;;
        'generate '--output | \
            'generate '-o | \
            'batch '--output | \
            'batch '-o | \
            'finish '--output | \
            'finish '-o | \
            'redo '--output | \
            'redo '-o | \
            'setup-secrets '--from-file | \
            'doctor '--report | \
            'jobs attach '--output | \
            'jobs attach '-o | \
            'jobs fetch '--output | \
            'jobs fetch '-o | \
            's3 get '--output | \
            's3 get '-o)
            value=':files'
            ;;
        'generate '--speaker | \
            'redo '--speaker)
            value=':speakers'
            ;;
        'generate '--order | \
            'batch '--order | \
            'redo '--order)
            value='sequence together add para'
            ;;
        'generate '--fit | \
            'batch '--fit | \
            'redo '--fit)
            value='cover contain stretch'
            ;;
        'generate '--preset | \
            'batch '--preset | \
            'redo '--preset | \
            'download '--preset)
            value='best standard balanced fast fastest'
            ;;
        'generate '--backend | \
            'batch '--backend | \
            'redo '--backend)
            value='auto modal local preview'
            ;;
        'generate '--gpu | \
            'batch '--gpu | \
            'redo '--gpu | \
            'deploy '--gpu | \
            'doctor '--gpu | \
            'status '--gpu | \
            'warm '--gpu | \
            'cool '--gpu | \
            'bench '--gpu | \
            'jobs rerun '--gpu)
            value='auto t4 l4 a10g a10 l40s a100-40gb a100 a100-80gb rtx-pro-6000 h100 h200 b200'
            ;;
        'generate '--tier | \
            'batch '--tier | \
            'redo '--tier)
            value='exact near turbo'
            ;;
        'generate '--rotate | \
            'batch '--rotate | \
            'redo '--rotate)
            value='0 90 180 270'
            ;;
        'generate '--weights | \
            'batch '--pairs | \
            'batch '--report | \
            'batch '--weights | \
            'finish '--weights | \
            'redo '--weights | \
            'download '--to)
            value=':folders'
            ;;
        'generate '--device | \
            'batch '--device | \
            'redo '--device)
            value='auto cuda cpu'
            ;;
        'generate '--stack | \
            'batch '--stack | \
            'redo '--stack | \
            'deploy '--stack | \
            'status '--stack | \
            'warm '--stack | \
            'cool '--stack | \
            'bench '--stack)
            value='current cuda12.1'
            ;;
        'generate '--attention | \
            'batch '--attention | \
            'redo '--attention | \
            'bench '--attention)
            value='auto fa3 fa4 sdpa-cudnn sdpa-flash xformers fa2 sdpa'
            ;;
        'redo '--image)
            value=':pictures'
            ;;
        'redo '--voice)
            value=':sounds'
            ;;
        'redo '--seed)
            value='new same'
            ;;
        'setup-secrets '--only)
            value='aws hf'
            ;;
        'download '--precision)
            value='bf16'
            ;;
        'bench '--persons)
            value='1 2 both'
            ;;
        *) return 1 ;;
    esac
}

__multitalk_fits() {
    case $1 in
        :pictures) case $2 in *.plan.png) ;; *.png | *.PNG | *.jpg | *.JPG | *.jpeg | *.JPEG | *.webp | *.WEBP | *.gif | *.GIF | *.tif | *.TIF | *.tiff | *.TIFF | *.bmp | *.BMP | *.avif | *.AVIF | *.heic | *.HEIC | *.heif | *.HEIF) return 0 ;; esac ;;
        :sounds) case $2 in *.wav | *.WAV | *.flac | *.FLAC | *.mp3 | *.MP3 | *.ogg | *.OGG | *.oga | *.OGA | *.opus | *.OPUS | *.m4a | *.M4A | *.webm | *.WEBM | *.mp4 | *.MP4 | *.mov | *.MOV | *.aac | *.AAC | *.aif | *.AIF | *.aiff | *.AIFF | *.amr | *.AMR | *.3gp | *.3GP | *.avi | *.AVI | *.caf | *.CAF | *.flv | *.FLV | *.mka | *.MKA | *.mkv | *.MKV | *.mpg | *.MPG | *.ts | *.TS | *.w64 | *.W64 | *.wma | *.WMA | *.wv | *.WV) return 0 ;; esac ;;
        :files) return 0 ;;
    esac
    return 1
}

# Files of a kind, and folders on the way to them, each after what stands before the file.
__multitalk_files() {
    local kind=$1 before=$2 start=$3 file
    compopt -o filenames 2> /dev/null
    while IFS= read -r file; do
        if [[ -d ${file/#\~/$HOME} ]] || __multitalk_fits "$kind" "$file"; then
            COMPREPLY+=("$before$file")
        fi
    done < <(compgen -f -- "$start")
}

# What only multitalk knows: jobs and keys, read from files, never over the network.
__multitalk_ask() {
    local line
    while IFS= read -r line; do
        COMPREPLY+=("$2${line%%$'\t'*}")
    done < <("${COMP_WORDS[0]}" _complete "$1" "$3" 2> /dev/null)
}

__multitalk_words() {
    local word
    for word in $1; do
        if [[ $word == "$3"* ]]; then
            COMPREPLY+=("$2$word")
        fi
    done
}

__multitalk_offer() {
    local value=$1 before=$2 start=$3
    case $value in
        :pictures | :sounds)
            case $start in
                [sS]3:*) __multitalk_ask keys "$before" "$start" ;;
                *) __multitalk_files "$value" "$before" "$start" ;;
            esac
            ;;
        :files) __multitalk_files "$value" "$before" "$start" ;;
        :folders) __multitalk_files "$value" "$before" "$start" ;;
        :speakers)
            if [[ $start == *=* ]]; then
                __multitalk_files :sounds "$before${start%%=*}=" "${start#*=}"
            else
                compopt -o nospace 2> /dev/null
                __multitalk_words 'left= right= face:1= face:2= box:' "$before" "$start"
            fi
            ;;
        :keys | :jobs) __multitalk_ask "${value#:}" "$before" "$start" ;;
        :nothing) ;;
        *) __multitalk_words "$value" "$before" "$start" ;;
    esac
}

# The words up to the cursor, where bash has broken them at = and : put together again.
__multitalk_split() {
    local left=${COMP_LINE:0:COMP_POINT} rest word i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        rest=${left#"${left%%[![:space:]]*}"}
        if ((i == COMP_CWORD)); then
            word=$rest
        fi
        if ((i > 0)) && [[ $rest == "$left" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        left=${rest#"$word"}
    done
}

_multitalk() {
    local command='' option='' only_arguments=0 count=0 repeated=0 value='' before='' broken='' i
    local commands options cur word
    local -a words arguments
    COMPREPLY=()
    __multitalk_split
    __multitalk_place ''
    cur=${words[${#words[@]} - 1]}
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ -n $option ]]; then
            option=''
        elif ((only_arguments)); then
            count=$((count + 1))
        elif [[ $word == -- ]]; then
            only_arguments=1
        elif [[ $word == -?* ]]; then
            if __multitalk_value "$command" "$word"; then
                option=$word
            fi
        elif [[ " $commands " == *" $word "* ]]; then
            command=${command:+$command }$word
            __multitalk_place "$command"
        else
            count=$((count + 1))
        fi
    done

    case $cur in
        [\"\']*) cur=${cur:1} ;;
        *)
            cur=${cur//\\/}
            if [[ $cur == *[=:]* ]]; then
                broken=${cur%"${cur##*["$COMP_WORDBREAKS"]}"}
            fi
            ;;
    esac
    if [[ -z $option ]] && ((!only_arguments)) && [[ $cur == --*=* ]]; then
        option=${cur%%=*}
        before=$option=
        cur=${cur#*=}
    fi

    if [[ -n $option ]]; then
        if __multitalk_value "$command" "$option"; then
            __multitalk_offer "$value" "$before" "$cur"
        fi
    elif ((!only_arguments)) && [[ $cur == -* ]]; then
        __multitalk_words "$options" '' "$cur"
    elif [[ -n $commands ]]; then
        __multitalk_words "$commands" '' "$cur"
    elif ((${#arguments[@]} > 0)); then
        if ((count >= ${#arguments[@]} && repeated)); then
            count=$((${#arguments[@]} - 1))
        fi
        if ((count < ${#arguments[@]})); then
            __multitalk_offer "${arguments[count]}" '' "$cur"
        fi
    fi
    # bash replaces only what stands after the last break.
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        COMPREPLY[i]=${COMPREPLY[i]#"$broken"}
    done
}

complete -F _multitalk multitalk
