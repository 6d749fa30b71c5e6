# Completion of multitalk for fish, made by: multitalk completion show fish

function __multitalk_place --no-scope-shadowing
    set -l shared '--json	Print one JSON object, also on failure.' '--quiet	Print only the result and errors.' '-q	Print only the result and errors.' '--debug	Show tracebacks and logs of what fails.' '--no-color	Print without colours.' '--progress	On stderr: auto, bars, plain, json or none.' '--help	Show this message and exit.' '-h	Show this message and exit.'
    set commands
    set arguments
    set repeated 0
    switch $argv[1]
        case ''
            set options '--version	Print the version.' '-V	Print the version.' $shared
            set commands 'generate	Make a talking video from a picture and one or two voices.' 'batch	Make the videos of a list: run it again to make what is missing.' 'demo	Make a first video on this machine: a preview from an example portrait and voice.' 'finish	Make the rest of videos whose first window was made with --first.' 'redo	Make a video again by its recipe, with a new seed and other options.' 'inspect	Show what a video was made from, and how it changed since.' 'verify	Compare a video, and its inputs, with its recipe.' 'compare	Compare two videos: frames, lips, motion, colours, recipes.' 'login	Store a token of your Modal account, through a page that opens in your browser.' 'setup-secrets	Store keys of a bucket and of the Hugging Face Hub in your Modal account.' 'deploy	Deploy the app to your Modal account; repeat it after an upgrade.' 'download	Fetch the model\'s weights (about 92.5 GB) and pack them, in your Modal account or in DIR.' 'upload-weights	Upload a pack of weights to your Modal account, where every job reads it.' 'doctor	Check this machine and your account, and name the next command.' 'status	Show the deployed app, its containers, and their price.' 'warm	Start a container that loads the weights and waits for jobs.' 'cool	Undo warm: idle containers stop after seconds again.' 'bench	Measure a GPU: its speed, memory and prices, and whether estimates hold.' 'ffmpeg	Run the included ffmpeg, to convert or split a sound.' 'explain	Explain an error code, or list them all.' 'help	Show how a command is used.' 'jobs	Show, follow, fetch, cancel and rerun jobs; add up what they cost.' 's3	List, fetch and store objects of your S3 bucket.' 'config	Show and change settings.' 'completion	Complete commands, options, files, jobs and keys with Tab.'
        case 'generate'
            set options '--prompt	What the video shows.' '-p	What the video shows.' '--output	FILE, FOLDER/, s3://..., - (stdout) or with {image}, {voice}, {seed}, {n}.' '-o	FILE, FOLDER/, s3://..., - (stdout) or with {image}, {voice}, {seed}, {n}.' '--speaker	left, right, face:N or box:x0%,y0%,x1%,y1%.' '--order	Two voices in sequence (default) or together.' '--size	896x448 (default), auto, 720p or WIDTHxHEIGHT.' '--fit	cover (default), contain or stretch.' '--fps	Frames per second (default 24).' '--preset	best, standard (default), balanced, fast or fastest.' '--steps	Denoising steps, 10 to 50 (default 20).' '--sample-steps	Denoising steps, 10 to 50 (default 20).' '--seed	Random by default; the result names it.' '--seeds	N variations, from --seed on.' '--plan	Show plan, time and price only.' '--dry-run	Show plan, time and price only.' '--max-cost	Highest price of the video, else exit 8.' '--backend	auto (default), modal, local or preview.' '--gpu	auto (default: h100 or h200), b200, l40s ...' '--first	First window only; see multitalk finish --help.' '--detach	Print the job\'s id and leave; see jobs --help.' '--fail-under	Fail (exit 8) below this lip-sync score (experimental).' '--upload	Store the video in outputs/ of your bucket too.' '--upload-to	Store it at s3://BUCKET/KEY or s3://BUCKET/.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--help-all	Show every option.' '--tier	exact (default), near or turbo.' '--lora	A LoRA that was downloaded, and its strength (default 1); "" for none.' '--text-guidance	Weight of the prompt (default 5).' '--text-gate	Share of the steps that compute the guidance by the prompt, which the others keep (default 1).' '--audio-guidance	Weight of the voice (default 4).' '--shift	Noise schedule shift (default 7, at 720p 11, with a step LoRA its own).' '--negative-prompt	What the video must not show.' '--background	Colour behind transparency (default white).' '--loudness	Accepted and without effect: the model scales every voice to one level.' '--no-loudness	Accepted and without effect: the model scales every voice to one level.' '--rotate	Turn the picture clockwise: 0, 90, 180 or 270.' '--sound-level	Level of the video\'s sound: each voice in LUFS, as the plan shows it.' '--trim-silence	Leave out the silence before and after the speech.' '--no-trim-silence	Leave out the silence before and after the speech.' '--audio-track	Sound track of a video with several, from 1.' '--weights	Folder of weights, for --backend local.' '--device	For --backend local: auto (default), cuda or cpu.' '--stack	In the cloud: current (default) or cuda12.1.' '--attention	auto (default), or one that the stack has: fa3, fa4, sdpa-cudnn, sdpa-flash, xformers, fa2, sdpa.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' '--persistent-params	Most parameters that stay on the GPU; the others are streamed.' '--vram-params	Most parameters that stay on the GPU; the others are streamed.' '--keep-inputs	Leave a job\'s inputs in the cloud for 7 days.' '--no-keep-inputs	Leave a job\'s inputs in the cloud for 7 days.' '--sidecar	Write the full recipe next to the video.' '--no-sidecar	Write the full recipe next to the video.' '--embed-prompt	Keep the prompt in the video\'s recipe.' '--no-embed-prompt	Keep the prompt in the video\'s recipe.' $shared
            set arguments ':pictures' ':sounds'
            set repeated 1
        case 'batch'
            set options '--pairs	A video of each picture and voice of one name.' '--output	FOLDER/, or with {id}, {image}, {voice}.' '-o	FOLDER/, or with {id}, {image}, {voice}.' '--prompt	For rows without a prompt.' '-p	For rows without a prompt.' '--seed	For rows without a seed.' '--seeds	N variations, from --seed on.' '--plan	Show all rows and their price only.' '--dry-run	Show all rows and their price only.' '--first	First window only; see multitalk finish --help.' '--parallel	Videos at once (default 4, on this machine 1).' '--budget	Most for all rows, with what earlier runs paid.' '--fail-fast	Start no other row after a failure.' '--report	Write a page about all videos there.' '--max-cost	Highest price of the video, else exit 8.' '--backend	auto (default), modal, local or preview.' '--gpu	auto (default: h100 or h200), b200, l40s ...' '--size	896x448 (default), auto, 720p or WIDTHxHEIGHT.' '--fit	cover (default), contain or stretch.' '--fps	Frames per second (default 24).' '--order	Two voices in sequence (default) or together.' '--preset	best, standard (default), balanced, fast or fastest.' '--steps	Denoising steps, 10 to 50 (default 20).' '--sample-steps	Denoising steps, 10 to 50 (default 20).' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--help-all	Show every option.' '--tier	exact (default), near or turbo.' '--lora	A LoRA that was downloaded, and its strength (default 1); "" for none.' '--text-gate	Share of the steps that compute the guidance by the prompt, which the others keep (default 1).' '--negative-prompt	What the video must not show.' '--text-guidance	Weight of the prompt (default 5).' '--audio-guidance	Weight of the voice (default 4).' '--shift	Noise schedule shift (default 7, at 720p 11, with a step LoRA its own).' '--background	Colour behind transparency (default white).' '--loudness	Accepted and without effect: the model scales every voice to one level.' '--no-loudness	Accepted and without effect: the model scales every voice to one level.' '--rotate	Turn the picture clockwise: 0, 90, 180 or 270.' '--sound-level	Level of the video\'s sound: each voice in LUFS, as the plan shows it.' '--trim-silence	Leave out the silence before and after the speech.' '--no-trim-silence	Leave out the silence before and after the speech.' '--audio-track	Sound track of a video with several, from 1.' '--weights	Folder of weights, for --backend local.' '--device	For --backend local: auto (default), cuda or cpu.' '--stack	In the cloud: current (default) or cuda12.1.' '--attention	auto (default), or one that the stack has: fa3, fa4, sdpa-cudnn, sdpa-flash, xformers, fa2, sdpa.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' '--persistent-params	Most parameters that stay on the GPU; the others are streamed.' '--vram-params	Most parameters that stay on the GPU; the others are streamed.' '--keep-inputs	Leave a job\'s inputs in the cloud for 7 days.' '--no-keep-inputs	Leave a job\'s inputs in the cloud for 7 days.' '--sidecar	Write the full recipe next to the video.' '--no-sidecar	Write the full recipe next to the video.' '--embed-prompt	Keep the prompt in the video\'s recipe.' '--no-embed-prompt	Keep the prompt in the video\'s recipe.' '--fail-under	Fail (exit 8) below this lip-sync score (experimental).' $shared
            set arguments ':files'
        case 'demo'
            set options '--force	Overwrite what exists.' '-f	Overwrite what exists.' $shared
        case 'finish'
            set options '--output	FILE or FOLDER/.' '-o	FILE or FOLDER/.' '--max-cost	Highest price of the rest of each.' '--detach	Print the ids and leave.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--weights	Of the model, for what was made on this machine.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':nothing'
            set repeated 1
        case 'redo'
            set options '--image	Another picture, or where it is now.' '--voice	Another voice, or where it is now; once for each.' '--seed	new, same (as the video\'s) or N.' '--prompt	What the video shows.' '-p	What the video shows.' '--output	FILE, FOLDER/, s3://..., - (stdout) or with {image}, {voice}, {seed}, {n}.' '-o	FILE, FOLDER/, s3://..., - (stdout) or with {image}, {voice}, {seed}, {n}.' '--speaker	left, right, face:N or box:x0%,y0%,x1%,y1%.' '--order	Two voices in sequence (default) or together.' '--size	896x448 (default), auto, 720p or WIDTHxHEIGHT.' '--fit	cover (default), contain or stretch.' '--fps	Frames per second (default 24).' '--preset	best, standard (default), balanced, fast or fastest.' '--steps	Denoising steps, 10 to 50 (default 20).' '--sample-steps	Denoising steps, 10 to 50 (default 20).' '--seeds	N variations, from --seed on.' '--plan	Show plan, time and price only.' '--dry-run	Show plan, time and price only.' '--max-cost	Highest price of the video, else exit 8.' '--backend	auto (default), modal, local or preview.' '--gpu	auto (default: h100 or h200), b200, l40s ...' '--first	First window only; see multitalk finish --help.' '--detach	Print the job\'s id and leave; see jobs --help.' '--fail-under	Fail (exit 8) below this lip-sync score (experimental).' '--upload	Store the video in outputs/ of your bucket too.' '--upload-to	Store it at s3://BUCKET/KEY or s3://BUCKET/.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--help-all	Show every option.' '--tier	exact (default), near or turbo.' '--lora	A LoRA that was downloaded, and its strength (default 1); "" for none.' '--text-guidance	Weight of the prompt (default 5).' '--text-gate	Share of the steps that compute the guidance by the prompt, which the others keep (default 1).' '--audio-guidance	Weight of the voice (default 4).' '--shift	Noise schedule shift (default 7, at 720p 11, with a step LoRA its own).' '--negative-prompt	What the video must not show.' '--background	Colour behind transparency (default white).' '--loudness	Accepted and without effect: the model scales every voice to one level.' '--no-loudness	Accepted and without effect: the model scales every voice to one level.' '--rotate	Turn the picture clockwise: 0, 90, 180 or 270.' '--sound-level	Level of the video\'s sound: each voice in LUFS, as the plan shows it.' '--trim-silence	Leave out the silence before and after the speech.' '--no-trim-silence	Leave out the silence before and after the speech.' '--audio-track	Sound track of a video with several, from 1.' '--weights	Folder of weights, for --backend local.' '--device	For --backend local: auto (default), cuda or cpu.' '--stack	In the cloud: current (default) or cuda12.1.' '--attention	auto (default), or one that the stack has: fa3, fa4, sdpa-cudnn, sdpa-flash, xformers, fa2, sdpa.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' '--persistent-params	Most parameters that stay on the GPU; the others are streamed.' '--vram-params	Most parameters that stay on the GPU; the others are streamed.' '--keep-inputs	Leave a job\'s inputs in the cloud for 7 days.' '--no-keep-inputs	Leave a job\'s inputs in the cloud for 7 days.' '--sidecar	Write the full recipe next to the video.' '--no-sidecar	Write the full recipe next to the video.' '--embed-prompt	Keep the prompt in the video\'s recipe.' '--no-embed-prompt	Keep the prompt in the video\'s recipe.' $shared
            set arguments ':files'
        case 'inspect'
            set options  $shared
            set arguments ':files'
        case 'verify'
            set options  $shared
            set arguments ':files' ':files'
            set repeated 1
        case 'compare'
            set options  $shared
            set arguments ':files' ':files'
        case 'login'
            set options '--stdin	Read TOKEN_ID and TOKEN_SECRET from a pipe, one a line.' $shared
        case 'setup-secrets'
            set options '--only	aws or hf; both by default.' '--from-env	Use AWS_ variables and HF_TOKEN.' '--profile	Use a profile of your AWS configuration.' '--from-hub	Use the token of the Hugging Face Hub\'s own login.' '--from-file	Use KEY=VALUE lines of a file that only you can read.' '--stdin	Use KEY=VALUE lines from a pipe.' '--bucket	Bucket; by default the setting bucket.' '--region	Region of the bucket; detected by default.' '--endpoint-url	Endpoint of an S3 store other than Amazon\'s.' '--update	Set these keys and keep the others of the secret.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--no-verify	Save without verifying.' '--environment	Modal environment, the account\'s default if absent.' '--app	Name of the Modal app (default multitalk).' $shared
        case 'deploy'
            set options '--stack	Add cuda12.1 (torch 2.4.1) to the current stack.' '--gpu	The default GPU of generate.' '--environment	Modal environment, the account\'s default if absent.' '--app	Name of the Modal app (default multitalk).' '--dry-run	Show everything that would be created; works offline.' $shared
        case 'download'
            set options '--to	Into a folder here, for --backend local.' '--precision	bf16; fp8 is replaced by --preset.' '--yes	Do not ask before spending money.' '-y	Do not ask before spending money.' '--detach	Start it in the cloud without waiting.' '--cancel	Cancel the download that runs in the cloud.' '--verify	Check the sha256 of every file.' '--repair	Verify, and fetch only wrong files again.' '--prune	Remove files that earlier downloads left.' '--list	Show each file\'s size and state.' '--lora	Add a LoRA: fusionx, lightx2v, https://..., with --to a file.' '--preset	Add a preset\'s LoRA and 8-bit weights: balanced, fast or fastest.' '--revision	Fetch this commit, not the pinned one.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
        case 'upload-weights'
            set options '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':folders'
        case 'doctor'
            set options '--all	A line for each check.' '--gpu	Also start a container with this GPU for a test video.' '--model	Also compare the model in your account with reference software.' '--report	Also write everything found to FILE, without secrets, for an issue.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--yes	Do not ask before spending money.' '-y	Do not ask before spending money.' '--environment	Modal environment, the account\'s default if absent.' '--app	Name of the Modal app (default multitalk).' $shared
        case 'status'
            set options '--gpu	auto (default: h100 or h200), b200, l40s ...' '--stack	In the cloud: current (default) or cuda12.1.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
        case 'warm'
            set options '--gpu	auto (default: h100 or h200), b200, l40s ...' '--stack	In the cloud: current (default) or cuda12.1.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':nothing'
        case 'cool'
            set options '--gpu	auto (default: h100 or h200), b200, l40s ...' '--stack	In the cloud: current (default) or cuda12.1.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
        case 'bench'
            set options '--gpu	auto (default: h100 or h200), b200, l40s ...' '--stack	In the cloud: current (default) or cuda12.1.' '--attention	auto (default), or one that the stack has: fa3, fa4, sdpa-cudnn, sdpa-flash, xformers, fa2, sdpa.' '--size	Size of the video.' '--persons	Talking persons.' '--steps	Timed steps of each window, 1 to 10; 3 by default.' '--quality	Measure the errors of the tiers near and turbo instead.' '--yes	Do not ask before spending money.' '-y	Do not ask before spending money.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
        case 'ffmpeg'
            set options  $shared
            set arguments ':files'
            set repeated 1
        case 'explain'
            set options  $shared
            set arguments 'E_BUG E_USAGE E_RANGE E_CONFLICT E_MANIFEST E_UNKNOWN_CODE E_SETTING E_URL E_SWAPPED E_TOO_MANY_VOICES E_SAME_VOICE E_SPEAKER E_OUTPUT_NAME E_CONFIG E_FILE_MISSING E_FILE_UNREADABLE E_IMAGE_FORMAT E_IMAGE_BROKEN E_IMAGE_SIZE E_AUDIO_FORMAT E_AUDIO_BROKEN E_AUDIO_NONE E_AUDIO_SILENT E_AUDIO_LENGTH E_VIDEO_BROKEN E_RECIPE E_RECIPE_INPUT E_OUTPUT_EXISTS E_ROW_FILES E_OUTPUT_TAKEN E_OUTPUT_PATH E_DISK_FULL E_FFMPEG E_NO_BACKEND E_NO_FFMPEG E_WEIGHTS E_LOCAL_EXTRA E_CONTRACT E_COST E_MAX_COST E_ROW_COST E_NO_TOKEN E_TOKEN E_PERMISSION E_MODAL_CONFIG E_NOT_DEPLOYED E_WEIGHTS_MISSING E_ENVIRONMENT E_SECRET_EXISTS E_NO_SECRET E_SECRET_INCOMPLETE E_SECRET_SOURCE E_SECRET_VALUE E_SECRET_FILE E_REMOTE_PACKAGE E_DEPLOY E_NO_JOB E_NOT_FIRST E_NO_ARGUMENTS E_LEDGER E_EXPIRED E_S3_ADDRESS E_S3_UNSET E_S3_CREDENTIALS E_S3_EXPIRED E_CERTIFICATE E_PROXY E_S3_CLOCK E_S3_BUCKET E_S3_KEY E_S3_DENIED E_S3_ARCHIVED E_S3_ENDPOINT E_S3_REGION E_S3_CHANGED E_S3_EXISTS E_S3_NETWORK E_STORAGE E_HUB_NETWORK E_HUB_THROTTLED E_HUB_TOKEN E_HUB_MISSING E_HUB_CHANGED E_HUB E_LORA E_LORA_MISSING E_DOWNLOAD_RUNS E_DISK_SPACE E_UNFINISHED E_OUT_OF_MEMORY E_ATTENTION E_MODEL_DIFFERS E_START E_REQUEST E_TIMEOUT E_CANCELLED E_DUPLICATE E_NETWORK E_CAPACITY E_MODAL_VERSION E_BILLING E_SPENDING_LIMIT E_PAYMENT_METHOD E_GPU_TOO_SMALL E_GPU_STACK E_CHANGED E_TIER E_ATTENTION_STACK E_QUALITY E_CPU_ONLY E_NOT_FINITE E_BLACK E_FROZEN E_GPU_FAILED E_REMOTE E_ROWS E_DECLINED E_INTERRUPTED'
        case 'help'
            set options  $shared
            set arguments 'generate batch demo finish redo inspect verify compare login setup-secrets deploy download upload-weights doctor status warm cool bench ffmpeg explain help jobs s3 config completion'
            set repeated 1
        case 'jobs'
            set options  $shared
            set commands 'ls	List calls that cost money, the newest first; asks Modal about those that run.' 'show	Show a job: inputs, settings, times, money and file.' 'attach	Follow a job to its end, and write its video.' 'wait	Wait until jobs have ended, by default all that run; exit code 5 if one failed.' 'fetch	Write the videos of finished jobs, for the first time or once more.' 'cancel	Cancel jobs and free their GPUs.' 'rerun	Run jobs again with their arguments and inputs; pays only for what is not done.' 'logs	Print what the job\'s containers logged, as far as Modal keeps it.' 'prune	Remove old jobs from the list, never one that runs; their videos stay where they are.' 'cost	Add up what this machine\'s calls cost.'
        case 'jobs ls'
            set options '--state	queued, running, first-window, done, not-fetched, file-missing, expired, failed, cancelled or stopped.' '--since	Since 2d, 12h, 3w, today or a date.' '--search	With TEXT in a name, a path or the prompt.' '--total	Add up time and money of all that match.' '--remote	Include jobs of other machines, listed by Modal.' '--limit	Show at most N.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
        case 'jobs show'
            set options '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':jobs'
        case 'jobs attach'
            set options '--output	FILE or FOLDER/.' '-o	FILE or FOLDER/.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':jobs'
        case 'jobs wait'
            set options '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':jobs'
            set repeated 1
        case 'jobs fetch'
            set options '--all	Every finished video that was not fetched.' '--output	FILE or FOLDER/.' '-o	FILE or FOLDER/.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':jobs'
            set repeated 1
        case 'jobs cancel'
            set options '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':jobs'
            set repeated 1
        case 'jobs rerun'
            set options '--failed	Every video that failed and is not made since.' '--since	Since 2d, 12h, 3w, today or a date.' '--gpu	auto (default: h100 or h200), b200, l40s ...' '--max-cost	Highest price of each video.' '--detach	Print the ids and leave; do not fetch the videos.' '--yes	Do not ask before spending money.' '-y	Do not ask before spending money.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':jobs'
            set repeated 1
        case 'jobs logs'
            set options '--follow	Print new lines too, until the job ends.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
            set arguments ':jobs'
        case 'jobs prune'
            set options '--older-than	Ended longer ago: 30d, 12w or a date.' '--yes	Do not ask.' '-y	Do not ask.' $shared
        case 'jobs cost'
            set options '--since	Since 30d, 12w, today or a date.' '--by	day, preset, gpu, kind.' '--check	Compare with what Modal bills, by whole UTC days.' '--app	Name of the Modal app (default multitalk).' '--environment	Modal environment, the account\'s default if absent.' $shared
        case 's3'
            set options  $shared
            set commands 'ls	List the objects of your bucket, the newest last.' 'get	Fetch objects; an interrupted download is resumed.' 'put	Store files in your bucket.' 'url	Create a URL with which anyone can read an object for a limited time.'
        case 's3 ls'
            set options '--recursive	Include objects in folders.' '-r	Include objects in folders.' '--limit	Show the N newest objects.' '--profile	Profile of your AWS configuration.' '--endpoint-url	Endpoint of an S3 store other than Amazon\'s.' '--requester-pays	Pay for requests to another account\'s bucket.' $shared
            set arguments ':keys'
        case 's3 get'
            set options '--latest	Fetch the newest object below KEY, or outputs/.' '--output	FILE or FOLDER/.' '-o	FILE or FOLDER/.' '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--profile	Profile of your AWS configuration.' '--endpoint-url	Endpoint of an S3 store other than Amazon\'s.' '--requester-pays	Pay for requests to another account\'s bucket.' $shared
            set arguments ':keys'
            set repeated 1
        case 's3 put'
            set options '--force	Overwrite what exists.' '-f	Overwrite what exists.' '--profile	Profile of your AWS configuration.' '--endpoint-url	Endpoint of an S3 store other than Amazon\'s.' '--requester-pays	Pay for requests to another account\'s bucket.' $shared
            set arguments ':files'
            set repeated 1
        case 's3 url'
            set options '--expires	Lifetime: 45m, 1h, at most 7d.' '--profile	Profile of your AWS configuration.' '--endpoint-url	Endpoint of an S3 store other than Amazon\'s.' '--requester-pays	Pay for requests to another account\'s bucket.' $shared
            set arguments ':keys'
        case 'config'
            set options  $shared
            set commands 'show	Show every setting with its value and origin.' 'path	Show the settings files in order of precedence.' 'set	Change a setting permanently.' 'unset	Remove a setting from a settings file.'
        case 'config show'
            set options  $shared
        case 'config path'
            set options  $shared
        case 'config set'
            set options '--project	Write ./multitalk.toml instead of the user\'s file.' $shared
            set arguments 'backend gpu stack attention app environment persistent_params keep_inputs size fit background fps order preset tier sample_steps lora text_gate text_guidance audio_guidance shift negative_prompt loudness sound_level rotate trim_silence audio_track max_cost weights device fail_under bucket sidecar embed_prompt' ':nothing'
        case 'config unset'
            set options '--project	Change ./multitalk.toml instead of the user\'s file.' $shared
            set arguments 'backend gpu stack attention app environment persistent_params keep_inputs size fit background fps order preset tier sample_steps lora text_gate text_guidance audio_guidance shift negative_prompt loudness sound_level rotate trim_silence audio_track max_cost weights device fail_under bucket sidecar embed_prompt'
        case 'completion'
            set options  $shared
            set commands 'install	Write the script where the shell finds it. No start-up file is changed.' 'show	Print the script.'
        case 'completion install'
            set options '--force	Overwrite what exists.' '-f	Overwrite what exists.' $shared
            set arguments 'bash zsh fish'
        case 'completion show'
            set options  $shared
            set arguments 'bash zsh fish'
    end
end

function __multitalk_value --no-scope-shadowing
    switch "$argv[1] $argv[2]"
        case '* --progress'
            set value 'auto bars plain json none'
        case 'generate --prompt' 'generate -p' 'generate --size' 'generate --fps' 'generate --steps' 'generate --sample-steps' 'generate --seed' 'generate --seeds' 'generate --max-cost' 'generate --fail-under' 'generate --upload-to' 'generate --lora' 'generate --text-guidance' 'generate --text-gate' 'generate --audio-guidance' 'generate --shift' 'generate --negative-prompt' 'generate --background' 'generate --sound-level' 'generate --audio-track' 'generate --app' 'generate --environment' 'generate --persistent-params' 'generate --vram-params' 'batch --prompt' 'batch -p' 'batch --seed' 'batch --seeds' 'batch --parallel' 'batch --budget' 'batch --max-cost' 'batch --size' 'batch --fps' 'batch --steps' 'batch --sample-steps' 'batch --lora' 'batch --text-gate' 'batch --negative-prompt' 'batch --text-guidance' 'batch --audio-guidance' 'batch --shift' 'batch --background' 'batch --sound-level' 'batch --audio-track' 'batch --app' 'batch --environment' 'batch --persistent-params' 'batch --vram-params' 'batch --fail-under' 'finish --max-cost' 'finish --app' 'finish --environment' 'redo --prompt' 'redo -p' 'redo --size' 'redo --fps' 'redo --steps' 'redo --sample-steps' 'redo --seeds' 'redo --max-cost' 'redo --fail-under' 'redo --upload-to' 'redo --lora' 'redo --text-guidance' 'redo --text-gate' 'redo --audio-guidance' 'redo --shift' 'redo --negative-prompt' 'redo --background' 'redo --sound-level' 'redo --audio-track' 'redo --app' 'redo --environment' 'redo --persistent-params' 'redo --vram-params' 'setup-secrets --profile' 'setup-secrets --bucket' 'setup-secrets --region' 'setup-secrets --endpoint-url' 'setup-secrets --environment' 'setup-secrets --app' 'deploy --environment' 'deploy --app' 'download --lora' 'download --revision' 'download --app' 'download --environment' 'upload-weights --app' 'upload-weights --environment' 'doctor --environment' 'doctor --app' 'status --app' 'status --environment' 'warm --app' 'warm --environment' 'cool --app' 'cool --environment' 'bench --size' 'bench --steps' 'bench --app' 'bench --environment' 'jobs ls --state' 'jobs ls --since' 'jobs ls --search' 'jobs ls --limit' 'jobs ls --app' 'jobs ls --environment' 'jobs show --app' 'jobs show --environment' 'jobs attach --app' 'jobs attach --environment' 'jobs wait --app' 'jobs wait --environment' 'jobs fetch --app' 'jobs fetch --environment' 'jobs cancel --app' 'jobs cancel --environment' 'jobs rerun --since' 'jobs rerun --max-cost' 'jobs rerun --app' 'jobs rerun --environment' 'jobs logs --app' 'jobs logs --environment' 'jobs prune --older-than' 'jobs cost --since' 'jobs cost --by' 'jobs cost --app' 'jobs cost --environment' 's3 ls --limit' 's3 ls --profile' 's3 ls --endpoint-url' 's3 get --profile' 's3 get --endpoint-url' 's3 put --profile' 's3 put --endpoint-url' 's3 url --expires' 's3 url --profile' 's3 url --endpoint-url'
            set value ':nothing'
        case 'generate --output' 'generate -o' 'batch --output' 'batch -o' 'finish --output' 'finish -o' 'redo --output' 'redo -o' 'setup-secrets --from-file' 'doctor --report' 'jobs attach --output' 'jobs attach -o' 'jobs fetch --output' 'jobs fetch -o' 's3 get --output' 's3 get -o'
            set value ':files'
        case 'generate --speaker' 'redo --speaker'
            set value ':speakers'
        case 'generate --order' 'batch --order' 'redo --order'
            set value 'sequence together add para'
        case 'generate --fit' 'batch --fit' 'redo --fit'
            set value 'cover contain stretch'
        case 'generate --preset' 'batch --preset' 'redo --preset' 'download --preset'
            set value 'best standard balanced fast fastest'
        case 'generate --backend' 'batch --backend' 'redo --backend'
            set value 'auto modal local preview'
        case 'generate --gpu' 'batch --gpu' 'redo --gpu' 'deploy --gpu' 'doctor --gpu' 'status --gpu' 'warm --gpu' 'cool --gpu' 'bench --gpu' 'jobs rerun --gpu'
            set value 'auto t4 l4 a10g a10 l40s a100-40gb a100 a100-80gb rtx-pro-6000 h100 h200 b200'
        case 'generate --tier' 'batch --tier' 'redo --tier'
            set value 'exact near turbo'
        case 'generate --rotate' 'batch --rotate' 'redo --rotate'
            set value '0 90 180 270'
        case 'generate --weights' 'batch --pairs' 'batch --report' 'batch --weights' 'finish --weights' 'redo --weights' 'download --to'
            set value ':folders'
        case 'generate --device' 'batch --device' 'redo --device'
            set value 'auto cuda cpu'
        case 'generate --stack' 'batch --stack' 'redo --stack' 'deploy --stack' 'status --stack' 'warm --stack' 'cool --stack' 'bench --stack'
            set value 'current cuda12.1'
        case 'generate --attention' 'batch --attention' 'redo --attention' 'bench --attention'
            set value 'auto fa3 fa4 sdpa-cudnn sdpa-flash xformers fa2 sdpa'
        case 'redo --image'
            set value ':pictures'
        case 'redo --voice'
            set value ':sounds'
        case 'redo --seed'
            set value 'new same'
        case 'setup-secrets --only'
            set value 'aws hf'
        case 'download --precision'
            set value 'bf16'
        case 'bench --persons'
            set value '1 2 both'
        case '*'
            return 1
    end
end

# Files of a kind, and folders on the way to them, each after what stands before the file.
function __multitalk_files
    set -l before $argv[2]
    for file in (complete -C"'' $argv[3]" | string replace -r '\t.*' '')
        if string match -q -- '*/' $file
            or string match -qir -- $argv[1] $file
            printf '%s\n' $before$file
        end
    end
end

# What only multitalk knows: jobs and keys, read from files, never over the network.
function __multitalk_ask
    set -l before $argv[2]
    set -l program (commandline -opc)[1]
    for line in ($program _complete $argv[1] $argv[3] 2>/dev/null)
        printf '%s\n' $before$line
    end
end

function __multitalk_offer
    set -l before $argv[2]
    set -l start $argv[3]
    switch $argv[1]
        case :pictures :sounds
            set -l endings '(?<!\.plan)\.(png|jpg|jpeg|webp|gif|tif|tiff|bmp|avif|heic|heif)$'
            test $argv[1] = :sounds; and set endings '\.(wav|flac|mp3|ogg|oga|opus|m4a|webm|mp4|mov|aac|aif|aiff|amr|3gp|avi|caf|flv|mka|mkv|mpg|ts|w64|wma|wv)$'
            if string match -qi -- 's3:*' $start
                __multitalk_ask keys "$before" "$start"
            else
                __multitalk_files $endings "$before" "$start"
            end
        case :files
            __multitalk_files '' "$before" "$start"
        case :folders
            __multitalk_files '^$' "$before" "$start"
        case :speakers
            if string match -q -- '*=*' $start
                set -l parts (string split -m 1 -- = $start)
                __multitalk_files '\.(wav|flac|mp3|ogg|oga|opus|m4a|webm|mp4|mov|aac|aif|aiff|amr|3gp|avi|caf|flv|mka|mkv|mpg|ts|w64|wma|wv)$' "$before$parts[1]=" "$parts[2]"
            else
                printf '%s\n' "$before"{left=,right=,face:1=,face:2=,box:}
            end
        case :keys :jobs
            __multitalk_ask (string sub -s 2 -- $argv[1]) "$before" "$start"
        case :nothing
        case '*'
            printf '%s\n' "$before"(string split ' ' -- $argv[1])
    end
end

function __multitalk_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l command ''
    set -l option ''
    set -l value ''
    set -l only_arguments 0
    set -l count 1
    set -l repeated 0
    set -l commands
    set -l options
    set -l arguments
    __multitalk_place ''
    for word in $words[2..-1]
        if test -n "$option"
            set option ''
        else if test $only_arguments = 1
            set count (math $count + 1)
        else if test "$word" = --
            set only_arguments 1
        else if string match -q -- '-?*' $word
            if __multitalk_value "$command" $word
                set option $word
            end
        else if contains -- $word (string replace -r '\t.*' '' -- $commands)
            set command (string trim -- "$command $word")
            __multitalk_place $command
        else
            set count (math $count + 1)
        end
    end

    if test -n "$option"
        __multitalk_value "$command" $option
        and __multitalk_offer $value '' "$cur"
    else if test $only_arguments = 0; and string match -q -- '--*=*' $cur
        set -l parts (string split -m 1 -- = $cur)
        __multitalk_value "$command" $parts[1]
        and __multitalk_offer $value "$parts[1]=" "$parts[2]"
    else if test $only_arguments = 0; and string match -q -- '-*' $cur
        printf '%s\n' $options
    else if set -q commands[1]
        printf '%s\n' $commands
    else if set -q arguments[1]
        if test $count -gt (count $arguments) -a $repeated = 1
            set count (count $arguments)
        end
        if set -q arguments[$count]
            __multitalk_offer $arguments[$count] '' "$cur"
        end
    end
end

complete -c multitalk -f -a '(__multitalk_complete)'
