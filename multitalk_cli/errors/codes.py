"""The table of error codes: summary, cause, remedy, exit code."""

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the process."""

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
    """One row of the table of codes: what happened, its usual cause, and what helps."""

    exit_code: ExitCode
    summary: str
    cause: str
    remedy: str


_U, _F, _S = ExitCode.USAGE, ExitCode.FILE, ExitCode.SETUP
_R, _X, _O = ExitCode.REMOTE, ExitCode.REFUSED, ExitCode.STORAGE

CODES: dict[str, Explanation] = {
    "E_BUG": Explanation(
        ExitCode.BUG,
        "unexpected error",
        "An internal error of multitalk, not a mistake of yours.",
        "Run the command again with --debug: its traceback shows where.",
    ),
    "E_USAGE": Explanation(
        _U,
        "invalid command line",
        "An option or argument is unknown, missing or of the wrong type.",
        "multitalk generate --help lists the options with examples.",
    ),
    "E_RANGE": Explanation(
        _U,
        "a value is out of range",
        "The message names the option, the value and the range.",
        "Pass a value inside the range that the message names.",
    ),
    "E_CONFLICT": Explanation(
        _U,
        "two options contradict each other",
        "Some options exclude each other, such as --speaker and voices given by position.",
        "Remove one of the two that the message names.",
    ),
    "E_MANIFEST": Explanation(
        _U,
        "a batch's list is wrong",
        "All problems are listed with the numbers of their rows. Nothing was started.",
        "multitalk batch --help names the columns of a list.",
    ),
    "E_UNKNOWN_CODE": Explanation(
        _U,
        "unknown error code",
        "multitalk explain takes the codes at the end of error messages.",
        "multitalk explain without a code lists all of them.",
    ),
    "E_SETTING": Explanation(
        _U,
        "a setting has an unknown name or an invalid value",
        "Settings come from options, MULTITALK_ variables and multitalk.toml files.",
        "multitalk config show lists every setting with its value and origin.",
    ),
    "E_URL": Explanation(
        _U,
        "an input is a web address",
        "multitalk reads local files and S3 objects only, so that you pay for exactly what you have seen.",
        "Download the file first, then pass its path.",
    ),
    "E_SWAPPED": Explanation(
        _U,
        "picture and voice are swapped",
        "The picture comes first, then one or two voices.",
        "Run the command again with the picture first.",
    ),
    "E_TOO_MANY_VOICES": Explanation(
        _U,
        "too many voices",
        "The model animates one or two people. A pattern such as *.wav can match many files.",
        'For a video of each: for f in *.wav; do multitalk generate picture.png "$f"; done',
    ),
    "E_SAME_VOICE": Explanation(
        _U,
        "the same voice was given twice",
        "Two speakers with the same recording would move in unison.",
        "Pass two different recordings, or the voice once.",
    ),
    "E_SPEAKER": Explanation(
        _U,
        "a --speaker is malformed or does not fit the picture",
        "It is PLACE=VOICE with PLACE left, right, face:N or box:x0%,y0%,x1%,y1%. "
        "Boxes must not be empty or overlap.",
        "multitalk generate IMAGE VOICE --plan draws the numbered faces.",
    ),
    "E_OUTPUT_NAME": Explanation(
        _U,
        "invalid output name",
        "Videos end in .mp4, previews in .preview.mp4, so that they cannot be confused.",
        "Use the name that the message suggests.",
    ),
    "E_CONFIG": Explanation(
        _F,
        "a settings file cannot be used",
        "It is not valid TOML, or has an unknown key or an invalid value.",
        "multitalk config path shows which files are read; correct or remove the line that the message names.",
    ),
    "E_FILE_MISSING": Explanation(
        _F,
        "a file does not exist",
        "The path is misspelled, or relative to another folder.",
        "List the folder with ls and pass the path as shown.",
    ),
    "E_FILE_UNREADABLE": Explanation(
        _F,
        "a file cannot be read",
        "It is a directory, a device, empty, or its permissions forbid it.",
        "Pass a regular file with read permission.",
    ),
    "E_IMAGE_FORMAT": Explanation(
        _F,
        "unsupported picture format",
        "Supported: PNG, JPEG, WebP, AVIF, BMP, the first frame of GIF and TIFF, and HEIC with the extra heic; not camera raws, nor vector formats such as SVG and PDF.",
        "Export the picture as PNG and pass that.",
    ),
    "E_IMAGE_BROKEN": Explanation(
        _F,
        "the picture is corrupt",
        "The file is truncated or its content contradicts its header. A picture whose last rows alone are missing is read.",
        "Copy or export the picture again.",
    ),
    "E_IMAGE_SIZE": Explanation(
        _F,
        "the picture is too small, too large or too narrow",
        "A small face has too little detail; a picture over 100 megapixels (a JPEG over 250) is a possible decompression bomb. A WebP of over 62 megapixels, and some AVIF and TIFF of over 70, would take more than 1 GB of memory.",
        "Pass a picture of at least 64 pixels per side, at most 100 megapixels, and an aspect ratio of at most 8.",
    ),
    "E_AUDIO_FORMAT": Explanation(
        _F,
        "unsupported voice format",
        "Supported: WAV, FLAC, MP3, OGG, Opus, M4A, AAC, WMA, AMR, AIFF, CAF, AC-3, and the sound of "
        "videos such as MP4, MOV, WebM, MKV, AVI, TS and FLV. Protected files, samples without a "
        "header and text are not.",
        "Convert the recording to WAV and pass that.",
    ),
    "E_AUDIO_BROKEN": Explanation(
        _F,
        "the voice is corrupt",
        "The file is truncated, has NaN samples, or no reader can decode it to the end.",
        "Copy or export the recording again.",
    ),
    "E_AUDIO_NONE": Explanation(
        _F,
        "the file has no sound",
        "A video without a sound track has no voice to animate a mouth.",
        "Pass a file with a voice.",
    ),
    "E_AUDIO_SILENT": Explanation(
        _F,
        "the voice is silent",
        "Its peak is below -50 dBFS: nothing, or the wrong channel, was recorded.",
        "Listen to the file, and pass one with a voice.",
    ),
    "E_AUDIO_LENGTH": Explanation(
        _F,
        "the voice is too short or too long",
        "One video takes from 0.2 seconds to 30 minutes of speech.",
        "Split the recording, or pass a longer one.",
    ),
    "E_VIDEO_BROKEN": Explanation(
        _F,
        "a video cannot be read",
        "It is not an MP4, is truncated, or its content contradicts its header.",
        "Pass an MP4; generate a damaged video again, with --force if it has the output's name.",
    ),
    "E_RECIPE": Explanation(
        _F,
        "the video has no recipe that can be used",
        "The recipe is missing, as in videos that were not made by multitalk or were uploaded somewhere, or it holds what no request can hold.",
        "Use the original file, or put its sidecar next to it.",
    ),
    "E_RECIPE_INPUT": Explanation(
        _F,
        "an input of the video is not known here",
        "A recipe names pictures, voices and prompts by their content: they are looked for in the ledger of jobs and next to the video.",
        "Name it with --image, --voice, --prompt or --negative-prompt.",
    ),
    "E_OUTPUT_EXISTS": Explanation(
        _F,
        "the output exists and has other content",
        "Nothing is overwritten without --force.",
        "Add --force to overwrite it, or -o with another name.",
    ),
    "E_ROW_FILES": Explanation(
        _F,
        "files of a batch's rows are unusable",
        "All problems are listed with the numbers of their rows. Nothing was started.",
        "Correct the files or the list, and run the same command again.",
    ),
    "E_OUTPUT_TAKEN": Explanation(
        _F,
        "another job is to write the output",
        "A job with other inputs or options runs for the same file, or its video waits to be fetched.",
        "Pass -o with another name, or fetch or cancel that job first; --force takes the name from it.",
    ),
    "E_OUTPUT_PATH": Explanation(
        _F,
        "the output cannot be written",
        "The folder is missing or read-only, or the path is one of the inputs.",
        "Pass -o with a path in an existing, writable folder.",
    ),
    "E_DISK_FULL": Explanation(
        _F,
        "the disk is full",
        "The video could not be written completely; the partial file was removed.",
        "Free some space, or pass -o with a path on another disk.",
    ),
    "E_FFMPEG": Explanation(
        _F,
        "ffmpeg failed",
        "The included ffmpeg could not write a video or a sound; the message has its last line.",
        "Run the command again with --debug, which shows ffmpeg's output.",
    ),
    "E_NO_BACKEND": Explanation(
        _S,
        "no backend for the video",
        "No deployment is set up, and in a script a preview must be asked for.",
        "multitalk generate IMAGE VOICE --backend preview makes a preview on this machine.",
    ),
    "E_NO_FFMPEG": Explanation(
        _S,
        "ffmpeg is missing",
        "It is included in the package imageio-ffmpeg, except for some systems.",
        "Install ffmpeg with your system's package manager; it must be on PATH.",
    ),
    "E_WEIGHTS": Explanation(
        _S,
        "the model's weights are missing or incomplete",
        "--weights is a folder with the packed weights: manifest.json and every file that it lists.",
        "multitalk download --to DIR writes such a folder; an interrupted download is resumed.",
    ),
    "E_LOCAL_EXTRA": Explanation(
        _S,
        "the libraries for local generation are not installed",
        "torch takes gigabytes; it is part of the optional extra local.",
        "Install the extra: pipx install --force '.[local]' in a checkout.",
    ),
    "E_CONTRACT": Explanation(
        _S,
        "client and deployment have incompatible versions",
        "Only one of the two was upgraded.",
        "multitalk deploy upgrades the deployment to this client's version.",
    ),
    "E_COST": Explanation(
        _X,
        "the estimate is above the cost limit",
        "Above 60 seconds of speech or 5 dollars, a script must pass --max-cost.",
        "Add --max-cost DOLLARS, or compare cheaper options with --plan.",
    ),
    "E_MAX_COST": Explanation(
        _X,
        "the run was stopped at the cost limit",
        "With another window the job would have cost more than --max-cost. Finished windows are kept for 7 days.",
        "Run the same command with a higher --max-cost: it resumes after the last window.",
    ),
    "E_ROW_COST": Explanation(
        _X,
        "rows of a batch are above the cost limit, or not for their GPU",
        "--max-cost is compared with the highest price of each row, and each row with its GPU and "
        "stack. Nothing was started.",
        "Correct or remove these rows, or pass a higher --max-cost or another --gpu.",
    ),
    "E_NO_TOKEN": Explanation(
        _S,
        "no Modal token",
        "Videos are made in your own Modal account, which this machine has no token for.",
        "multitalk login stores a token.",
    ),
    "E_TOKEN": Explanation(
        _S,
        "the Modal token is invalid",
        "It was revoked, belongs to another workspace, is incomplete, or has a space or line end in it.",
        "multitalk login stores a new one.",
    ),
    "E_PERMISSION": Explanation(
        _S,
        "the token's user may not do this in Modal's workspace",
        "The environment is restricted, where viewers may only look, or the workspace is suspended. The token itself is valid.",
        "Ask an owner of the workspace for the role of a contributor, or pass another --environment; multitalk login changes to another workspace.",
    ),
    "E_MODAL_CONFIG": Explanation(
        _S,
        "settings of Modal's client cannot be used",
        "The file ~/.modal.toml is damaged or has no active profile, or a variable such as MODAL_PROFILE or MODAL_LOGLEVEL has a value that Modal's client refuses.",
        "Correct the file or the variable that the message names; multitalk login writes a new profile.",
    ),
    "E_NOT_DEPLOYED": Explanation(
        _S,
        "the app is not deployed",
        "This Modal environment has no app of that name, or not with this stack.",
        "multitalk download deploys it and fetches the weights; multitalk deploy deploys it alone.",
    ),
    "E_WEIGHTS_MISSING": Explanation(
        _S,
        "the model's weights are missing in your Modal account",
        "The Volume multitalk-weights has no complete pack in the folder bf16.",
        "multitalk download downloads and packs them there; an interrupted download is resumed.",
    ),
    "E_ENVIRONMENT": Explanation(
        _S,
        "unknown Modal environment",
        "--environment, the setting of that name or MODAL_ENVIRONMENT is misspelled, or the token belongs to another workspace.",
        "multitalk config show shows the setting; omit --environment for the default one.",
    ),
    "E_SECRET_EXISTS": Explanation(
        _F,
        "the Modal secret already exists",
        "Modal never shows the values of a secret, so that none is replaced by accident.",
        "Add --update to set the given keys and keep the others, or --force to replace the secret.",
    ),
    "E_NO_SECRET": Explanation(
        _S,
        "the app has no S3 credentials",
        "The app reads and writes s3:// with the Modal secret aws-secret, which did not exist when it was deployed.",
        "multitalk setup-secrets --only aws sets it up; multitalk deploy then gives it to the app.",
    ),
    "E_SECRET_INCOMPLETE": Explanation(
        _S,
        "a Modal secret lacks a key",
        "It was created by hand or by an older version: aws-secret needs three keys, huggingface-secret needs HF_TOKEN.",
        "multitalk setup-secrets --update sets the keys and keeps the others.",
    ),
    "E_SECRET_SOURCE": Explanation(
        _U,
        "no source for the values of secrets",
        "They are typed on a terminal or read from a source that an option names; no option takes them.",
        "multitalk setup-secrets --from-env, or --profile NAME, --from-hub, --from-file FILE or --stdin",
    ),
    "E_SECRET_VALUE": Explanation(
        _S,
        "a value of a secret is missing or invalid",
        "It is empty, has spaces in it, or belongs to another key. Values are never shown; the message names the key.",
        "Copy the value again from its origin, then run multitalk setup-secrets.",
    ),
    "E_SECRET_FILE": Explanation(
        _F,
        "a file with secrets cannot be used",
        "Other users can read it, or its lines are not KEY=VALUE.",
        "chmod 600 FILE, with lines such as HF_TOKEN=...",
    ),
    "E_REMOTE_PACKAGE": Explanation(
        _S,
        "another Python package is called remote",
        "Python finds it before the package of that name that multitalk deploys.",
        "Install multitalk-cli in a virtual environment of its own, without PYTHONPATH.",
    ),
    "E_DEPLOY": Explanation(
        _R,
        "the deployment failed",
        "Modal could not build the container image; its log shows the line.",
        "multitalk deploy --debug builds again with its log; finished layers are cached.",
    ),
    "E_NO_JOB": Explanation(
        _U,
        "unknown job",
        "The id is misspelled, ambiguous, or belongs to another Modal environment.",
        "multitalk jobs ls lists the jobs of this machine.",
    ),
    "E_NOT_FIRST": Explanation(
        _U,
        "the video has no rest to make",
        "finish makes the rest of a first window that generate --first made.",
        "multitalk jobs ls --state first-window lists the jobs that wait for it.",
    ),
    "E_NO_ARGUMENTS": Explanation(
        _U,
        "the job cannot be run again from the list of jobs",
        "An older version recorded it, without its arguments, or another machine did.",
        "Run its multitalk generate command again: finished work is not paid for twice.",
    ),
    "E_LEDGER": Explanation(
        _F,
        "the list of jobs cannot be used",
        "It is a small database in your state folder, and must be writable.",
        "Free some space, or correct the permissions of the file in the message.",
    ),
    "E_EXPIRED": Explanation(
        _R,
        "the result has expired",
        "Finished videos are kept in the Volume multitalk-jobs for 7 days.",
        "Run the same generate command again.",
    ),
    "E_S3_ADDRESS": Explanation(
        _U,
        "invalid S3 address",
        "It must be s3://BUCKET/KEY, or a KEY in the default bucket.",
        "multitalk s3 ls s3://BUCKET/FOLDER/ lists the keys.",
    ),
    "E_S3_UNSET": Explanation(
        _S,
        "no default bucket",
        "A KEY alone is in the default bucket, which is not set.",
        "multitalk config set bucket NAME, or write s3://BUCKET/KEY",
    ),
    "E_S3_CREDENTIALS": Explanation(
        _S,
        "missing or invalid S3 credentials or endpoint",
        "They come from AWS_ variables, a profile of ~/.aws, or the machine's role. Only s3 commands need them on this machine.",
        "multitalk s3 ls --profile NAME, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    "E_S3_EXPIRED": Explanation(
        _S,
        "the S3 credentials have expired",
        "Temporary credentials and single sign-on are valid for some hours.",
        "Renew them at their origin (aws sso login), then run the same command again.",
    ),
    "E_CERTIFICATE": Explanation(
        _S,
        "another certificate than Modal's",
        "A proxy, a virus scanner or a firewall reads encrypted connections with a certificate of its own, this machine's clock is wrong, or the certificates that Modal's client trusts cannot be read.",
        "Add the network's root certificate, ROOT.pem, to the file in the message; ask whoever runs the network for it.",
    ),
    "E_PROXY": Explanation(
        _S,
        "unusable proxy",
        "HTTP_PROXY or HTTPS_PROXY is not an address of an HTTP proxy, or the proxy rejects the user and password in it.",
        "Correct the variable in the message, or exclude the host: export NO_PROXY=HOST",
    ),
    "E_S3_CLOCK": Explanation(
        _S,
        "this machine's clock is wrong",
        "S3 rejects requests whose time is off by more than 15 minutes.",
        "Synchronise the clock, then run the same command again.",
    ),
    "E_S3_BUCKET": Explanation(
        _O,
        "unknown bucket",
        "Its name is misspelled, it was deleted, or it is in another store.",
        "multitalk config set bucket NAME, or add --endpoint-url for a store other than Amazon's",
    ),
    "E_S3_KEY": Explanation(
        _O,
        "unknown object",
        "The key is misspelled, or the object was deleted.",
        "multitalk s3 ls --recursive lists the keys.",
    ),
    "E_S3_DENIED": Explanation(
        _O,
        "access denied by the store",
        "The credentials are valid, but their policy or the bucket's does not allow this.",
        "Add the permission in the message, or pass --profile NAME; --requester-pays for a bucket whose readers pay.",
    ),
    "E_S3_ARCHIVED": Explanation(
        _O,
        "the object is archived",
        "Objects in Glacier, Deep Archive or an archive of Intelligent-Tiering can be read some hours after they were restored.",
        "Restore the object in the store's console, then run the same command again.",
    ),
    "E_S3_ENDPOINT": Explanation(
        _O,
        "no S3 store at this address",
        "A web page, a console, another service or a redirect answered, or the address is not encrypted as expected.",
        "Pass the address of the store's S3 API as --endpoint-url (AWS_ENDPOINT_URL); consoles have another port.",
    ),
    "E_S3_REGION": Explanation(
        _O,
        "the bucket is in another region",
        "The region comes from AWS_DEFAULT_REGION or the profile.",
        "Set AWS_DEFAULT_REGION to the region in the message.",
    ),
    "E_S3_CHANGED": Explanation(
        _O,
        "the download does not match the object",
        "The object was replaced during the download, or bytes were corrupted. The file was removed.",
        "Run the same command again.",
    ),
    "E_S3_EXISTS": Explanation(
        _F,
        "an object with this key already exists",
        "Nothing is overwritten without --force.",
        "Add --force to overwrite it, or pass another key.",
    ),
    "E_S3_NETWORK": Explanation(
        ExitCode.TEMPORARY,
        "cannot reach the store, or throttled by it",
        "This machine has no network, --endpoint-url is wrong, or the store limits the rate of requests.",
        "Run the same command again; an interrupted download is resumed.",
    ),
    "E_STORAGE": Explanation(
        _O,
        "storage error",
        "The store returned an error that has no code here.",
        "Run the same command again; if it fails again, run it with --debug.",
    ),
    "E_HUB_NETWORK": Explanation(
        ExitCode.TEMPORARY,
        "cannot reach the Hugging Face Hub, or throttled by it",
        "This machine has no network, HF_ENDPOINT is wrong, or the Hub is down or limits the rate of requests.",
        "Run the same command again later; an interrupted download is resumed.",
    ),
    "E_HUB_THROTTLED": Explanation(
        ExitCode.TEMPORARY,
        "throttled by the Hugging Face Hub, without a token",
        "The Hub limits the rate of requests of an address, more so without a token; pauses of 5 minutes in all were not enough.",
        "Run the same command again later, or set HF_TOKEN to a token of huggingface.co/settings/tokens; for the cloud: multitalk setup-secrets --only hf",
    ),
    "E_HUB_TOKEN": Explanation(
        _S,
        "access denied by the Hugging Face Hub",
        "The repository is gated, or the token is invalid or expired, with which the Hub refuses public files too. It comes from HF_TOKEN or the Hub's own file.",
        "Set HF_TOKEN to a token of huggingface.co/settings/tokens, or unset an old one; for the cloud: multitalk setup-secrets --only hf",
    ),
    "E_HUB_MISSING": Explanation(
        _O,
        "unknown repository, revision or file on the Hugging Face Hub",
        "--revision is not a commit of the repository, or the publishers moved the file or the repository.",
        "Omit --revision, or pass a commit from the repository's page; where that is gone, a newer version may know the new place.",
    ),
    "E_HUB_CHANGED": Explanation(
        _O,
        "the download does not match the Hub's checksum",
        "Bytes were corrupted twice on the way. The file was removed.",
        "Run the same command again; if it fails again, a proxy or disk changes data.",
    ),
    "E_HUB": Explanation(
        _O,
        "unexpected response of the Hugging Face Hub",
        "HF_ENDPOINT is not a Hub, or its API has changed.",
        "Run the same command again; if it fails again, unset HF_ENDPOINT.",
    ),
    "E_LORA": Explanation(
        _F,
        "the LoRA cannot be used",
        "It is not a safetensors file, is larger than 4 GB, is a DoRA, LoHa or LoKr, or its tensors do not fit the model.",
        "Pass --lora fusionx, --lora lightx2v, or a LoRA's .safetensors file that was trained for Wan 2.1 14B.",
    ),
    "E_LORA_MISSING": Explanation(
        ExitCode.SETUP,
        "the LoRA is not in the folder of weights",
        "A LoRA is a file next to the weights, and is downloaded once.",
        "Run multitalk download --preset, or --lora with the LoRA's name or address.",
    ),
    "E_DOWNLOAD_RUNS": Explanation(
        ExitCode.TEMPORARY,
        "another download of the weights is running",
        "Two at the same time would write to the same files.",
        "multitalk download follows the one in the cloud; with --to, wait or pass another folder.",
    ),
    "E_DISK_SPACE": Explanation(
        _F,
        "not enough disk space for the weights",
        "The folder must hold the published files and the pack made from them. Finished downloads are kept.",
        "Free some space, or pass --to with a folder on another disk.",
    ),
    "E_UNFINISHED": Explanation(
        _R,
        "the job has no video yet",
        "It is waiting for a GPU, running, or was lost with its container.",
        "multitalk jobs attach follows it to the end.",
    ),
    "E_OUT_OF_MEMORY": Explanation(
        _R,
        "out of memory",
        "The GPU or its host cannot hold the model and a video of this size.",
        "Add --gpu h200, or pass a smaller --size.",
    ),
    "E_ATTENTION": Explanation(
        _R,
        "the preferred attention kernel does not run on the GPU",
        "A kernel is missing in the container, or was built for other GPUs. The next kernel that runs makes the same video in more time; without any, and for one named by --attention, the run fails.",
        "multitalk doctor --gpu lists the kernels with reasons; pass another --gpu, or --stack current.",
    ),
    "E_MODEL_DIFFERS": Explanation(
        _S,
        "a part of the model differs from its reference",
        "A package or the GPU computes something else than expected, the weights are not those that this version was written for, or multitalk has an error.",
        "multitalk doctor --model --report report.md writes all figures to a file: attach it to an issue, and make no long video before.",
    ),
    "E_START": Explanation(
        ExitCode.TEMPORARY,
        "no container started",
        "A cold start pulls the image and may take minutes; this one failed or exceeded its time limit. Nothing was generated.",
        "Run the same generate command again; multitalk warm starts a container in advance, multitalk deploy replaces an image that never starts.",
    ),
    "E_REQUEST": Explanation(
        _R,
        "invalid request",
        "A frame count is not 4n+1, a side is not a multiple of 16, or another field violates the contract: the client or the app was modified.",
        "multitalk deploy deploys this client's version; then run the same generate command again.",
    ),
    "E_TIMEOUT": Explanation(
        _R,
        "time limit of a call exceeded",
        "No window was finished within the time limit of a call.",
        "Add --gpu h100 or a faster GPU, or pass a smaller --size.",
    ),
    "E_CANCELLED": Explanation(
        _R,
        "the job was cancelled",
        "It was cancelled on this or another machine.",
        "Run the same generate command again to start a new one.",
    ),
    "E_DUPLICATE": Explanation(
        _R,
        "the job is already running",
        "The job got two calls; the first continues, this one did nothing.",
        "multitalk jobs ls shows it, and multitalk jobs attach follows it.",
    ),
    "E_NETWORK": Explanation(
        ExitCode.TEMPORARY,
        "cannot reach Modal",
        "This machine has no network, or a firewall or proxy blocks Modal.",
        "Run the same command again when the network is back.",
    ),
    "E_CAPACITY": Explanation(
        ExitCode.TEMPORARY,
        "no capacity",
        "The account's limit of containers or GPUs is reached.",
        "Run the same command again later, or with another --gpu.",
    ),
    "E_MODAL_VERSION": Explanation(
        _S,
        "another version of Modal's client is necessary",
        "Modal's client and its servers do not fit: a workspace may have set a builder of images "
        "that the client does not know.",
        "Upgrade Modal's client with the command in the message.",
    ),
    "E_BILLING": Explanation(
        _S,
        "no billing report for this token",
        "The report of a workspace is for its owners and managers, and not part of every plan.",
        "Look at https://modal.com/settings/usage, or ask an owner of the workspace for a token.",
    ),
    "E_SPENDING_LIMIT": Explanation(
        _S,
        "the account's budget is used up",
        "A budget of the Modal workspace, or of its environment, is reached for this month: Modal "
        "starts nothing more. Running the command again does not help.",
        "An owner or manager of the workspace raises the budget in Modal's settings, under Usage "
        "and billing; kept windows of unfinished jobs are not paid again.",
    ),
    "E_PAYMENT_METHOD": Explanation(
        _S,
        "the account has no payment method",
        "Modal deploys and runs most GPUs only for workspaces with a payment method on file, also "
        "where there is free credit left.",
        "Add one in Modal's settings, under Usage and billing, then run the same command again; "
        "free credit is still used first. --backend preview needs none.",
    ),
    "E_GPU_TOO_SMALL": Explanation(
        _X,
        "the GPU is too small for the model and this size",
        "A GPU must hold two blocks of the transformer, the smaller networks, and memory that "
        "grows with the size of the video; the other blocks are streamed.",
        "Pass --gpu with the GPU in the message.",
    ),
    "E_GPU_STACK": Explanation(
        _X,
        "the GPU does not run with this stack",
        "The stack's older CUDA does not support the GPU.",
        "Omit --stack, or pass another --gpu.",
    ),
    "E_CHANGED": Explanation(
        _X,
        "the video is not as it was made",
        "Its length, frames or sound, or a file given as its input, differ from what the recipe recorded.",
        "multitalk jobs ls lists the jobs whose video can be fetched again; multitalk redo makes it again.",
    ),
    "E_TIER": Explanation(
        _X,
        "the GPU, the stack or the deployed app does not compute in this tier",
        "The tiers near and turbo need GPUs that multiply in 8 bits, and the stack current.",
        "Pass the GPU or the stack that is proposed, or --preset standard.",
    ),
    "E_ATTENTION_STACK": Explanation(
        _X,
        "the stack does not have this attention kernel",
        "Each stack has kernels of its own, and GPUs before Ampere run few of them.",
        "Omit --attention, or pass one that the message names, or another --stack.",
    ),
    "E_QUALITY": Explanation(
        _X,
        "the video's lip-sync score is below --fail-under",
        "The mouth of a speaker follows the voice less than required, or could not be measured. The score is experimental: real recordings reach about 0.4. The video is kept.",
        "Watch the video; then try another --seed, or a picture with a larger face.",
    ),
    "E_CPU_ONLY": Explanation(
        _X,
        "the model needs a GPU",
        "torch finds no NVIDIA GPU on this machine; a CPU takes hours for each second of video with full-size weights.",
        "Add --device cpu to run anyway, or --backend preview for a preview.",
    ),
    "E_NOT_FINITE": Explanation(
        _R,
        "the model computed NaN values",
        "The picture, voice or options led to an overflow; the run was stopped to save its remaining cost.",
        "Try another --seed, picture or size.",
    ),
    "E_BLACK": Explanation(
        _R,
        "the model generated black frames",
        "The run was stopped to save its remaining cost.",
        "Try another --seed, picture or size.",
    ),
    "E_FROZEN": Explanation(
        _R,
        "the model generated frozen frames",
        "The run was stopped to save its remaining cost.",
        "Try another --seed, picture or size.",
    ),
    "E_GPU_FAILED": Explanation(
        ExitCode.TEMPORARY,
        "the GPU failed",
        "The GPU was not found, or reported an error after which it accepts no work: a memory error of the hardware, or a failed kernel. Its container is replaced.",
        "Run the same generate command again: it resumes after the last finished window.",
    ),
    "E_REMOTE": Explanation(
        _R,
        "the run failed",
        "The container reported an error that has no code here.",
        "Run the same command again; if it fails again, run it with --debug.",
    ),
    "E_ROWS": Explanation(
        _R,
        "videos of a batch are missing",
        "Some rows failed, were cancelled, or were not started; each says why.",
        "Run the same command again: it makes what is missing, and pays for nothing else.",
    ),
    "E_DECLINED": Explanation(
        _X,
        "declined at a question",
        "The question before work that costs money or writes files was not answered with y.",
        "Run the same command again and answer y.",
    ),
    "E_INTERRUPTED": Explanation(
        ExitCode.INTERRUPTED,
        "interrupted",
        "Ctrl-C or a signal stopped the command; partial files were removed.",
        "Run the same command again.",
    ),
}
