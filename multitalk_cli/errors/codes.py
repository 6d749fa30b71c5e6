"""The table of error codes: summary, cause, remedy, exit code."""

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells the shell."""

    OK = 0
    BUG = 1
    USAGE = 2
    FILE = 3
    SETUP = 4
    REMOTE = 5
    STORAGE = 6
    TEMPORARY = 7
    REFUSED = 8
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row of the table of codes: what happened, why it does, and what helps."""

    exit_code: ExitCode
    summary: str
    cause: str
    remedy: str


_U, _F, _S = ExitCode.USAGE, ExitCode.FILE, ExitCode.SETUP
_R, _X, _O = ExitCode.REMOTE, ExitCode.REFUSED, ExitCode.STORAGE

CODES: dict[str, Explanation] = {
    "E_BUG": Explanation(
        ExitCode.BUG,
        "multitalk met something that it did not expect",
        "A mistake in multitalk, not in what you typed.",
        "Run the command again with --debug and report what it prints.",
    ),
    "E_USAGE": Explanation(
        _U,
        "the command line is wrong",
        "An option or argument is unknown, missing or of the wrong type.",
        "multitalk generate --help lists the options with examples.",
    ),
    "E_RANGE": Explanation(
        _U,
        "a value is outside its range",
        "The message names the option, the value and the range.",
        "Pass a value inside the range that the message names.",
    ),
    "E_CONFLICT": Explanation(
        _U,
        "two options contradict each other",
        "Some options only make sense alone, as --speaker and voices given by position.",
        "Drop one of the two that the message names.",
    ),
    "E_UNKNOWN_CODE": Explanation(
        _U,
        "no such error code",
        "multitalk explain takes the codes that error messages end with.",
        "multitalk explain without a code lists them all.",
    ),
    "E_SETTING": Explanation(
        _U,
        "a setting has an unknown name or a wrong value",
        "Settings come from options, MULTITALK_ variables and multitalk.toml files.",
        "multitalk config show lists every setting with its value and where it came from.",
    ),
    "E_URL": Explanation(
        _U,
        "an input is a web address",
        "multitalk reads files and objects of S3, so that what you pay for is what you looked at.",
        "Download the file first, then pass its path.",
    ),
    "E_SWAPPED": Explanation(
        _U,
        "picture and voice are in each other's place",
        "The picture comes first, then one or two voices.",
        "Run the command again with the picture first.",
    ),
    "E_TOO_MANY_VOICES": Explanation(
        _U,
        "more voices than the model can drive",
        "The model drives one or two people. A pattern such as *.wav can become many files.",
        'To make a video of each: for f in *.wav; do multitalk generate picture.png "$f"; done',
    ),
    "E_SAME_VOICE": Explanation(
        _U,
        "the same voice was given twice",
        "Two speakers with one and the same recording would move as one.",
        "Pass two different recordings, or the voice once.",
    ),
    "E_SPEAKER": Explanation(
        _U,
        "a --speaker cannot be understood or does not fit the picture",
        "It is PLACE=VOICE with PLACE left, right, face:N or box:x0%,y0%,x1%,y1%. "
        "Boxes must not be empty or overlap.",
        "multitalk generate PICTURE VOICE --plan draws the numbered faces.",
    ),
    "E_OUTPUT_NAME": Explanation(
        _U,
        "the output's name does not fit",
        "A video's name ends in .mp4, a preview's in .preview.mp4, so that nobody takes one for the other.",
        "Use the name that the message proposes.",
    ),
    "E_CONFIG": Explanation(
        _F,
        "a settings file cannot be used",
        "It is not valid TOML, or holds a key or a value that multitalk does not know.",
        "multitalk config path shows which files are read; correct or remove the line that the message names.",
    ),
    "E_FILE_MISSING": Explanation(
        _F,
        "a file does not exist",
        "The path is misspelt, or relative to another folder.",
        "List the folder with ls and pass the path as it is there.",
    ),
    "E_FILE_UNREADABLE": Explanation(
        _F,
        "a file cannot be read",
        "It is a directory, a device, empty, or its permissions forbid it.",
        "Pass a regular file that you may read.",
    ),
    "E_IMAGE_FORMAT": Explanation(
        _F,
        "the picture is in a format that cannot be used",
        "PNG, JPEG and WebP are read, and the first frame of GIF and TIFF. SVG and PDF are not pictures of pixels.",
        "Export the picture as PNG and pass that.",
    ),
    "E_IMAGE_BROKEN": Explanation(
        _F,
        "the picture is damaged",
        "The file is cut off or its content contradicts its header.",
        "Copy or export the picture again.",
    ),
    "E_IMAGE_SIZE": Explanation(
        _F,
        "the picture is too small, too large or too narrow",
        "A face needs pixels, and a picture over 100 megapixels is likelier a trap than a photograph.",
        "Pass a picture of at least 64 pixels a side, at most 100 megapixels, at most 8 times as long as wide.",
    ),
    "E_AUDIO_FORMAT": Explanation(
        _F,
        "the voice is in a format that cannot be used",
        "WAV, FLAC, MP3, OGG, Opus, M4A, WebM and the sound of MP4 and MOV are read.",
        "Convert the recording to WAV and pass that.",
    ),
    "E_AUDIO_BROKEN": Explanation(
        _F,
        "the voice is damaged",
        "The file is cut off, holds not-a-number samples, or cannot be decoded to the end.",
        "Copy or export the recording again.",
    ),
    "E_AUDIO_NONE": Explanation(
        _F,
        "the file has no sound",
        "A video without a sound track cannot drive a mouth.",
        "Pass a file with a voice.",
    ),
    "E_AUDIO_SILENT": Explanation(
        _F,
        "the voice is silent",
        "Its peak is below -50 dBFS: the wrong channel was recorded, or nothing was.",
        "Listen to the file, and pass one with a voice.",
    ),
    "E_AUDIO_LENGTH": Explanation(
        _F,
        "the voice is too short or too long",
        "From 0.2 seconds to 30 minutes of speech can be made in one video.",
        "Cut the recording into parts, or pass a longer one.",
    ),
    "E_VIDEO_BROKEN": Explanation(
        _F,
        "a video cannot be read",
        "It is no MP4, is cut off, or its content contradicts its header.",
        "Make the video again, with --force if it has the output's name.",
    ),
    "E_OUTPUT_EXISTS": Explanation(
        _F,
        "the output exists and was made from something else",
        "Nothing is overwritten unless you say so.",
        "Add --force to overwrite it, or -o with another name.",
    ),
    "E_OUTPUT_PATH": Explanation(
        _F,
        "the output cannot be written there",
        "The folder is missing or read-only, or the path is one of the inputs.",
        "Pass -o with a path in a folder that exists and that you may write to.",
    ),
    "E_DISK_FULL": Explanation(
        _F,
        "the disk is full",
        "The video could not be written to the end; the unfinished part was removed.",
        "Free some space, or pass -o with a path on another disk.",
    ),
    "E_FFMPEG": Explanation(
        _F,
        "ffmpeg could not write the video",
        "The bundled ffmpeg failed; its last line is in the message.",
        "Run the command again with --debug; if it fails again, report it.",
    ),
    "E_NO_BACKEND": Explanation(
        _S,
        "there is nothing to make the video with",
        "No deployment is set up, and a script is never given a preview in place of a video.",
        "multitalk generate PICTURE VOICE --backend preview makes a preview on this machine.",
    ),
    "E_NO_FFMPEG": Explanation(
        _S,
        "there is no ffmpeg for this machine",
        "It comes inside the package imageio-ffmpeg, which has none for some systems.",
        "Install ffmpeg with your system's package manager, so that it is on PATH.",
    ),
    "E_WEIGHTS": Explanation(
        _S,
        "the model's weights are missing or incomplete",
        "--weights names a folder that holds the packed weights: manifest.json and every file that it lists.",
        "multitalk download --to DIR writes such a folder, and goes on where an earlier one stopped.",
    ),
    "E_LOCAL_EXTRA": Explanation(
        _S,
        "what runs the model is not installed",
        "torch is gigabytes, so that it comes only with the extra called local.",
        'pip install "multitalk-cli[local]"',
    ),
    "E_CONTRACT": Explanation(
        _S,
        "client and deployment are of different versions",
        "One of the two was upgraded alone.",
        "multitalk deploy brings the deployment to this client's version.",
    ),
    "E_COST": Explanation(
        _X,
        "the estimate is above what you allowed",
        "Above 60 seconds of speech or 5 dollars, a script must say how much it may spend.",
        "Add --max-cost DOLLARS, or look at the cheaper choices with --plan.",
    ),
    "E_NO_TOKEN": Explanation(
        _S,
        "there is no Modal token",
        "Videos are made on your own Modal account, and nothing on this machine says which.",
        "multitalk login stores a token.",
    ),
    "E_TOKEN": Explanation(
        _S,
        "the token is refused",
        "It was revoked, belongs to another workspace, or half of it is missing.",
        "multitalk login stores a new one.",
    ),
    "E_NOT_DEPLOYED": Explanation(
        _S,
        "the app is not deployed",
        "Nothing of multitalk runs in this Modal environment yet, or not with this stack.",
        "multitalk deploy puts it there.",
    ),
    "E_WEIGHTS_MISSING": Explanation(
        _S,
        "the model's weights are not in your Modal account",
        "The Volume multitalk-weights holds no folder bf16 with a complete pack.",
        "multitalk download fetches and packs them there, and goes on where an earlier one stopped.",
    ),
    "E_ENVIRONMENT": Explanation(
        _S,
        "there is no such Modal environment",
        "--environment or the setting of that name is misspelt, or the token is of another workspace.",
        "multitalk config show names the environment that is set; leave --environment out for the default one.",
    ),
    "E_SECRET_EXISTS": Explanation(
        _F,
        "the Modal secret exists",
        "Modal never shows what a secret holds, so that nothing of it is replaced unless you say so.",
        "Add --update to set the given keys and keep the others, or --force to make the secret anew.",
    ),
    "E_NO_SECRET": Explanation(
        _S,
        "the app has no credentials for the store",
        "s3:// is read and written by the app, with the Modal secret aws-secret, which was not there when it was deployed.",
        "multitalk setup-secrets --only aws sets it up; multitalk deploy then gives it to the app.",
    ),
    "E_SECRET_INCOMPLETE": Explanation(
        _S,
        "a Modal secret lacks a key",
        "It was made by hand, or by an older version: aws-secret has three keys, huggingface-secret has HF_TOKEN.",
        "multitalk setup-secrets --update sets the keys and keeps the others.",
    ),
    "E_SECRET_SOURCE": Explanation(
        _U,
        "nothing says where the values of secrets come from",
        "They are typed on a terminal, or come from a source that an option names; no option takes them.",
        "multitalk setup-secrets --from-env, or --profile NAME, --from-hub, --from-file FILE or --stdin",
    ),
    "E_SECRET_VALUE": Explanation(
        _S,
        "a value of a secret is missing or cannot be right",
        "It is empty, has spaces inside, or belongs to another key. Values are never shown, the message names the key.",
        "Copy the value again from where it was made, then run multitalk setup-secrets.",
    ),
    "E_SECRET_FILE": Explanation(
        _F,
        "a file with secrets cannot be used",
        "Others may read it, or its lines are not KEY=VALUE.",
        "chmod 600 FILE, with lines such as HF_TOKEN=...",
    ),
    "E_REMOTE_PACKAGE": Explanation(
        _S,
        "another package called remote is in the way",
        "Python finds a package of that name before the one that multitalk deploys.",
        "Install multitalk-cli in an environment of its own, without PYTHONPATH.",
    ),
    "E_DEPLOY": Explanation(
        _R,
        "the deployment failed",
        "Modal could not build the container image; its output says at which line.",
        "Run multitalk deploy again; what was built is kept.",
    ),
    "E_NO_JOB": Explanation(
        _U,
        "there is no such job",
        "The id is misspelt, fits several jobs, or belongs to another Modal environment.",
        "multitalk jobs ls lists the jobs of this machine.",
    ),
    "E_LEDGER": Explanation(
        _F,
        "the list of jobs cannot be used",
        "It is a small database in your state folder, which must be writable.",
        "Free some space or correct the permissions of the file that the message names.",
    ),
    "E_EXPIRED": Explanation(
        _R,
        "the result is no longer kept",
        "Finished videos stay in the Volume multitalk-jobs for 7 days.",
        "Run the same generate command again to make it once more.",
    ),
    "E_S3_ADDRESS": Explanation(
        _U,
        "an S3 address cannot be understood",
        "It is s3://BUCKET/KEY, or a key alone of the bucket that is set.",
        "multitalk s3 ls s3://BUCKET/FOLDER/ shows the keys as they are written.",
    ),
    "E_S3_UNSET": Explanation(
        _S,
        "no bucket is set",
        "A key alone means one of your own bucket, and nothing says which that is.",
        "multitalk config set bucket NAME, or write s3://BUCKET/KEY",
    ),
    "E_S3_CREDENTIALS": Explanation(
        _S,
        "there are no S3 credentials, or they are refused",
        "They come from AWS_ variables, from a profile of ~/.aws, or from the machine's role. Only s3 commands need them here.",
        "multitalk s3 ls --profile NAME, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    "E_S3_EXPIRED": Explanation(
        _S,
        "the S3 credentials have expired",
        "Temporary credentials and single sign-on last for some hours.",
        "Renew them where they came from (aws sso login), then run the same command again.",
    ),
    "E_S3_CLOCK": Explanation(
        _S,
        "this machine's clock is wrong",
        "S3 refuses requests that were signed more than 15 minutes ago or ahead.",
        "Set the clock from the network, then run the same command again.",
    ),
    "E_S3_BUCKET": Explanation(
        _O,
        "there is no such bucket",
        "Its name is misspelt, it was deleted, or it is in another store.",
        "multitalk config set bucket NAME, or add --endpoint-url for a store that is not Amazon's",
    ),
    "E_S3_KEY": Explanation(
        _O,
        "there is no such object",
        "The key is misspelt, or the object was deleted.",
        "multitalk s3 ls --recursive shows the keys.",
    ),
    "E_S3_DENIED": Explanation(
        _O,
        "the store does not allow it",
        "The credentials are good, but their policy or the bucket's does not allow this.",
        "Add the permission that the message names, or pass --profile NAME.",
    ),
    "E_S3_REGION": Explanation(
        _O,
        "the bucket is in another region",
        "The region comes from AWS_DEFAULT_REGION or from the profile.",
        "Set AWS_DEFAULT_REGION to the region that the message names.",
    ),
    "E_S3_CHANGED": Explanation(
        _O,
        "what arrived is not what the store has",
        "The object was replaced while it was fetched, or bytes were damaged on the way. The file was not kept.",
        "Run the same command again.",
    ),
    "E_S3_EXISTS": Explanation(
        _F,
        "an object with this key exists",
        "Nothing is overwritten unless you say so.",
        "Add --force to overwrite it, or pass another key.",
    ),
    "E_S3_NETWORK": Explanation(
        ExitCode.TEMPORARY,
        "there is no way to the store, or it is busy",
        "This machine has no network, --endpoint-url names the wrong place, or the store asked for patience.",
        "Run the same command again; a file that was begun goes on where it stopped.",
    ),
    "E_STORAGE": Explanation(
        _O,
        "storage failed",
        "The store answered with an error that has no code of its own.",
        "Run the same command again; if it fails again, run it with --debug and report it.",
    ),
    "E_HUB_NETWORK": Explanation(
        ExitCode.TEMPORARY,
        "there is no way to the Hugging Face hub",
        "This machine has no network, HF_ENDPOINT names the wrong place, or the hub is down.",
        "Run the same command again when the network is back; it goes on where it stopped.",
    ),
    "E_HUB_TOKEN": Explanation(
        _S,
        "the Hugging Face hub refuses access",
        "The repository is gated or does not exist, or the token is wrong. The token comes from HF_TOKEN or from the hub's own file.",
        "Set HF_TOKEN to a token of huggingface.co/settings/tokens, or unset it if it is old; for the cloud: multitalk setup-secrets --only hf",
    ),
    "E_HUB_MISSING": Explanation(
        _O,
        "the Hugging Face hub has no such repository, revision or file",
        "--revision names a commit that there is not, or the publishers moved the file.",
        "Leave --revision out, or pass a commit that the repository's page lists.",
    ),
    "E_HUB_CHANGED": Explanation(
        _O,
        "what arrived is not what the hub lists",
        "Bytes were damaged on the way, twice. The file was not kept.",
        "Run the same command again; if it fails again, something between here and the hub changes data.",
    ),
    "E_HUB": Explanation(
        _O,
        "the Hugging Face hub gives an odd answer",
        "HF_ENDPOINT names something that is no hub, or its answers changed.",
        "Run the same command again; if it fails again, unset HF_ENDPOINT.",
    ),
    "E_LORA": Explanation(
        _F,
        "the LoRA cannot be used",
        "It is no safetensors file, larger than 4 GB, or none of its tensors has a LoRA's name.",
        "Pass --lora fusionx, --lora lightx2v, or the https:// address of a LoRA's .safetensors file.",
    ),
    "E_DOWNLOAD_RUNS": Explanation(
        ExitCode.TEMPORARY,
        "another download is writing to the weights",
        "Two at once would write to the same files.",
        "multitalk download follows the one in the cloud; for --to wait, or pass another folder.",
    ),
    "E_DISK_SPACE": Explanation(
        _F,
        "there is not enough space for the weights",
        "The published files and the pack made from them lie in one folder. What was fetched is kept.",
        "Free some space, or pass --to with a folder on another disk.",
    ),
    "E_UNFINISHED": Explanation(
        _R,
        "the job has no video yet",
        "It waits for a machine, runs, or was lost with its machine.",
        "multitalk jobs attach follows it to its end.",
    ),
    "E_OUT_OF_MEMORY": Explanation(
        _R,
        "the machine ran out of memory",
        "The card or its host could not hold the model and this size at once.",
        "Add --gpu h200, or pass a smaller --size.",
    ),
    "E_ATTENTION": Explanation(
        _R,
        "attention does not run on the card as it should",
        "A kernel is missing from the container, or was built for other cards. Another one is taken where one runs: the video is the same and takes longer. Where none runs, there is no video.",
        "multitalk doctor --gpu shows which kernels run and why others do not; pass another --gpu, or --stack current.",
    ),
    "E_START": Explanation(
        ExitCode.TEMPORARY,
        "no container started",
        "A cold start pulls the image and may take minutes; this one failed or took longer than Modal was told to wait. Nothing of the video was made.",
        "Run the same generate command again; multitalk warm starts a container ahead of it, multitalk deploy replaces an image that never starts.",
    ),
    "E_REQUEST": Explanation(
        _R,
        "the container refuses the request",
        "A frame count is not 4n+1, a side is no multiple of 16, or something else breaks what both sides agreed on: the client or the app was changed by hand.",
        "multitalk deploy puts this client's version there; then run the same generate command again.",
    ),
    "E_TIMEOUT": Explanation(
        _R,
        "the run took longer than a call may last",
        "Not even one window was finished within the time limit of a call.",
        "Add --gpu h100 or a faster card, or pass a smaller --size.",
    ),
    "E_CANCELLED": Explanation(
        _R,
        "the job was cancelled",
        "Somebody cancelled it, here or from another machine.",
        "Run the same generate command again to start a new one.",
    ),
    "E_DUPLICATE": Explanation(
        _R,
        "the job runs already",
        "Two calls were made for one job; the first goes on, this one did nothing.",
        "multitalk jobs ls shows it, and multitalk jobs attach follows it.",
    ),
    "E_NETWORK": Explanation(
        ExitCode.TEMPORARY,
        "there is no way to Modal",
        "This machine has no network, or something between it and Modal blocks the way.",
        "Run the same command again when the network is back.",
    ),
    "E_CAPACITY": Explanation(
        ExitCode.TEMPORARY,
        "there is no room for the run now",
        "The account's limit of containers or cards is reached.",
        "Run the same command again later, or with another --gpu.",
    ),
    "E_GPU_TOO_SMALL": Explanation(
        _X,
        "the card cannot hold the model and this size",
        "A card holds two blocks of the transformer at least, the smaller networks, and what "
        "grows with the size of the video; the other blocks are streamed to it.",
        "Pass --gpu with the card that the message names.",
    ),
    "E_GPU_STACK": Explanation(
        _X,
        "the card does not run with this stack",
        "The older CUDA of the stack does not know the card.",
        "Leave --stack out, or pass another --gpu.",
    ),
    "E_QUALITY": Explanation(
        _X,
        "the video is worse than --fail-under allows",
        "The mouth of a speaker follows the voice less than you asked for, or could not be measured. The video is kept.",
        "Look at the video; then try another --seed, or a picture in which the face is larger.",
    ),
    "E_CPU_ONLY": Explanation(
        _X,
        "the model needs a GPU",
        "torch finds no NVIDIA GPU here, and full-size weights take a CPU hours for each second of video.",
        "Add --device cpu to do it all the same, or --backend preview for a preview.",
    ),
    "E_NOT_FINITE": Explanation(
        _R,
        "the model computed values that are no numbers",
        "The picture, the voice or the options led it out of its range; the run was ended to save the rest of its price.",
        "Try another --seed; if it fails again, report it with the recipe.",
    ),
    "E_BLACK": Explanation(
        _R,
        "the model made black frames",
        "The run was ended, so that the rest of it is not paid for.",
        "Try another --seed; if it fails again, report it with the recipe.",
    ),
    "E_FROZEN": Explanation(
        _R,
        "the model made frames that do not move",
        "The run was ended, so that the rest of it is not paid for.",
        "Try another --seed; if it fails again, report it with the recipe.",
    ),
    "E_REMOTE": Explanation(
        _R,
        "the run failed",
        "The machine that makes the video reported a failure that has no code of its own.",
        "Run the same command again; if it fails again, run it with --debug and report it.",
    ),
    "E_INTERRUPTED": Explanation(
        ExitCode.INTERRUPTED,
        "interrupted",
        "Ctrl-C or a signal ended the command; unfinished files were removed.",
        "Run the same command again.",
    ),
}
