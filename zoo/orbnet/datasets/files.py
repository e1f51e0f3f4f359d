"""Where each data file comes from and which bytes count.

Most files repackage what a public repository holds as many small files, so they cannot be fetched from it by one address: the
source names the repository and the commit. The published mean errors are single files of theirs and are fetched where absent.
"""

from __future__ import annotations

from zoo.core.data import DataFile

_REFDATA = (
    "https://github.com/aoterodelaroza/refdata at f96148aa1739077c55b394b4c9d7e4f42f65dce0",
    "GPL-3.0 (the collection)",
)
_WAGEN = "https://github.com/ariwagen/personal-website at 335c89f471c184aec72cefbec8c644dc6a53e131"
_RAW = "https://raw.githubusercontent.com/ariwagen/personal-website/335c89f471c184aec72cefbec8c644dc6a53e131/src/data/gmtkn55"
# folder below orbnet/: (repository and commit, licence)
SOURCES: dict[str, tuple[str, str]] = {
    "dipconfs": (
        "https://github.com/grimme-lab/DipCONFS-DipCONFL at 2b4acac54b7d1b8534961ff5232776a827a8816d",
        "no licence file",
    ),
    "flexisol_geometries": (
        "https://github.com/grimme-lab/flexisol at 283f6667a3895a47188f628e0699ce778ae9cd92",
        "MIT",
    ),
    "gmtkn55": (
        "https://github.com/grimme-lab/GMTKN55 at ab515efb12867df2253d53b08fde3f551d5ecd9d",
        "no licence file",
    ),
    "gscdb138": (
        "https://github.com/awvwgk/GSCDB138 at c6da4d8dbcd19a468c7006e006f7e344d3102959",
        "CC BY 4.0",
    ),
    "hutchison": (
        "https://github.com/ghutchis/conformer-benchmark at 0109c8ec7cff3c10d3617ed65392fffc81492755",
        "MIT",
    ),
    "ncia": (
        "https://github.com/Honza-R/NCIAtlas at 9fa8296f2fb04ed0751bf099fa454735f85d025a",
        "no licence file; cite Rezac et al.",
    ),
    "pepconf": (
        "https://github.com/aoterodelaroza/pepconf at 35da35de29789d62182182d7202a582e27f262b2",
        "no licence file",
    ),
    "qm_theory_torsions": (
        "https://github.com/MobleyLab/qm-theory-benchmark at 9a0e895d58f1487ca749a17526efd854ffe3e8a2",
        "MIT",
    ),
    "refdata_noncovalent_reactions": _REFDATA,
    "s66": _REFDATA,
    "torsion_mlff": (
        "https://github.com/leifjacobson/MLFF_test_data at dda2c2e986c7856aadc28a573eadf4846ee7c925",
        "MIT",
    ),
}

_SHA256 = """
dipconfs/dipconfs.npz 3df8d3fdf35477d1a1cca37382f3918af0260520a09bef74bd9118a6ae7f8e6c
flexisol_geometries/flexisol_geometries.npz 60fd80b98297de528149aa152d22726cd78b1c32faac19e631eb71415db7f85e
gmtkn55/grimme_gmtkn55_light.tar.gz d09ccc42bf06032993936b77225b320100545faf7b3d0990a243d9975620306e
gscdb138/gscdb138_closedshell.npz 7e572ee66312bcc57d5f778b17a71c848a11cdeb4f38813b6d55c4aaa8c93a74
gscdb138/reactions.json 96c2986f426802f30c4c053afd2f22de0490254e27bc09edab6014a1ba28322d
hutchison/data-final.csv.gz 99554d802dbb9418853facd1a81d09be39b7e9a63859ede3165795ebd89719eb
hutchison/geometries_xyz.tar.gz 743b66f9378acd95a8ea1fbb98913201ac4f0fa1cfaaf0aaf6e86935141c223f
ncia/NCIA_D1200.npz 258fc456212cbe2fc88be05ef1b37a87b364ddfb5ad2739aba361b061b860150
ncia/NCIA_D442x10.npz 660767a6f98e564d67dadca4dbda407c1cf8e34711a7aa1a2d1b9d82ea0e721e
ncia/NCIA_HB300SPXx10.npz fd0c700d349ef6d7d09614d07efdc2bf89f670897db0ff732fcfa51e18b20d53
ncia/NCIA_HB375x10.npz b4d7af9959dc38f3a9aa8478b7e5c016433ebacdaaca1dfe0bd2b1a310020ff9
ncia/NCIA_IHB100x10.npz 35ad11e8bf43f6e1f11a1c1732a16ae1ef9b193ca61a0cd47a71ac73640258ed
ncia/NCIA_R739x5.npz e08f7e10a79210cbc16f9023bc4c4aaa9db438d89d8e5c448ef53b80b94dd6dd
ncia/NCIA_SH250x10.npz 9d45365c5ecf0cb7431b6ffb77fe5cc5bd459b4202136bcdafe02fcc244f3c81
pepconf/pepconf.npz 23a5de263d0f777b32fff7c12108ea82958c6d948921660b9a42d2af9480efbf
qm_theory_torsions/qm_theory_torsions.npz 0852040156ff9d81d0b74c93ddf65ae92f05b15326db38f354f9a77e7df8d169
refdata_noncovalent_reactions/achc.npz 82bc0e83c510f177ec3ee73d1c890d28c93aefa7d6ee1e6e34648851fb4aa2fc
refdata_noncovalent_reactions/achc_reactions.json 39e155fd85907e769b8e7a673cdd8ba02825e28eb22af9a43f51ebb3a360e759
refdata_noncovalent_reactions/bh9.npz 9ebfb471d5514a91243dff6488b7d1e2cacec9b1b271b8cce6ef6df0b8f230b3
refdata_noncovalent_reactions/bh9_reactions.json ad9ff98b45082b5cea30d79901767e446dc7eb8c622174510a89d318000bdcd5
refdata_noncovalent_reactions/chal336.npz 4655c5e4da3005a020fbbe98331afb72b7bd530bacbebf504b53d8d10186d764
refdata_noncovalent_reactions/chal336_reactions.json 634c231fe9777e744565ede2d5a6b5eb26b273467fe00b5337c4a26383d3b614
refdata_noncovalent_reactions/cyclo70.npz 699dade2c53b6e26d1c50ff2ffadc12ae6687110394feaad0c6077bb437e9f14
refdata_noncovalent_reactions/cyclo70_reactions.json cfaf5ad5e23aa2e47cdf88741de59a4b815e7fef691c326a5f9c908dda300271
refdata_noncovalent_reactions/hbc6.npz ee4a386f0442865e4b8f300c626c826ba918887a0a59e4a4899a9a71b24a2e6c
refdata_noncovalent_reactions/hbc6_reactions.json 2459f7bc2cbecee6a325724e360aa03fb4517b38009949f4e4703afee692cf8d
refdata_noncovalent_reactions/ionichb.npz 0b727763f1b1f4113b3421f2d413f9484a5849044529d6e9c52d769b906b2962
refdata_noncovalent_reactions/ionichb_reactions.json 8fa08d134298f77db01d920c0a49474aa8d2110dbbaa420e2ff8c5ceac21d1c6
refdata_noncovalent_reactions/nbc10ext.npz c718fbdc572e733aa5a86121602869c0b264ddde9bb8efea06e2b5df29efbca7
refdata_noncovalent_reactions/nbc10ext_reactions.json e53b343ba90de5da48dd96c9a353686251896d0def9494e17dc38a5da0cd511e
refdata_noncovalent_reactions/ssi.npz 02285dd27d3257286f51d98918ed6ff94b48de7be4d847f3d90a25cce0feabfd
refdata_noncovalent_reactions/ssi_reactions.json 6026d80b175beaeabe1813b93f942fb900f55dacda184b4580b26544c6568a36
refdata_noncovalent_reactions/w1_sn2_bh.npz de1eb6c2769f6dcca21e57f8d6c4cbf56dd894dfee2c314023133d64247809d2
refdata_noncovalent_reactions/w1_sn2_bh_reactions.json 1bc31fd1b7105cdb78bf8d43569f6c4da1b7ae298488ebf27f88ce13544f824f
refdata_noncovalent_reactions/water2510.npz 5a16c8e10b28cff2d8bbc173630282df7632ceb79ddd3f3562f4d8d3319f8918
refdata_noncovalent_reactions/water2510_reactions.json ca460bf75ed475f17c341e7b151d73f49512c40e799fcfa33c93e210e57d91a3
s66/refdata_s66.tar.gz a9170952b54fc5939bae51c8846450a53f29785fd05ab58240ee884ff389c82f
torsion_mlff/TorsionNet500.npz 3580be6667c4e1ebb1d1f5ede207102fe54160ffff829df42f08bbe4690bea99
torsion_mlff/TorsionTest2000.npz cab0964485db9fe337d91384bd4a0c658dc3bc706937c5dc723cf04ab8eb39d3
torsion_mlff/tautobase.npz 451bb8a61727e1128d11de290493b104c38a2fcfb587b967290960b2c159c8ae
"""

_PUBLISHED_SHA256 = """
aimnet2-new-gmtkn55 2a4f0375965dd42aeae1457c0d0361194506e642640d8e3107d32235b8d13fa4
aimnet2-old-gmtkn55 a436474f96036cfdb5d66ba9c1993f84d7ababd0cb5be3f166de245aa22b5777
ani-1ccx-gmtkn55 974a411a44245d552a85d5605bbc4a4b5a4f494e5bfd3e8beb01e3a4a405bd63
ani-2x-gmtkn55 66ad2d9be59e7a38e817e6d859e25d8dc65f270ef729efdf2b3f0da311564719
gfn2-xtb-gmtkn55 e084ad35ffc62c308dad9f89816eac4e98d28195904e88455a781ebb96caffda
mace-mp-0-gmtkn55 e06852eb2eaef315811339d3fe9d8797d097589ca107d7effe58c8fa357d0d77
mace-off23-L-gmtkn55 e58b4b173001670d40c35e68ad72da429ae1b9147787b84009e9baef926b5ad2
mace-off23-M-gmtkn55 3bdcd32e3c26a1bcdc9f811d3c9d942672db592dd5bad75200702b50ebfc5f98
mace-off23-S-gmtkn55 b6bcc9972b9603c3696b83681fc9adfa22623e99b8f23397d4997a59733b4d68
omat24-gmtkn55 eb0ada43afd418c068fb6c4e43928d3b69f3afeece7932c28d64a73af0e3fc94
orb-d3-v2-gmtkn55 d0b481e6da5f361b0eb4b693df1d7aacd86e0a2394b4c0cab48a1997ac9d6082
orb-v2-gmtkn55 e7e744fe7820f10172a75b45bd83ad52e59e48ada6c64c9f0c46a6794875db44
orbnet-denali-gmtkn55 653e50b459b515a14426715e8a3d3cf37dfbfea36aaa819b39fdfeb787ce211a
pbe-d3bj-gmtkn55 cc23537550903e010ae094edbee4a8807248b819f5a314e2d85f20d332ef041b
so3lr-gmtkn55 97d5ca1bb24c4b7ae6791dcce9a5d29f4e0fb1e4f26408325416a68996eefd75
subsets d972388e95cfa8f95b6314e2e1f5d1fc58e156a9464d407076ca17524705b352
wb97m-d3bj-gmtkn55 434f14d36a5c6d0d3b7949f79de5b6df2ca45f4c1c07773686db56bb547e1e49
"""


def _pairs(text: str) -> dict[str, str]:
    return dict(line.split() for line in text.strip().splitlines())  # pyright: ignore[reportReturnType]


def _file(path: str, sha256: str) -> DataFile:
    source, licence = SOURCES[path.partition("/")[0]]
    return DataFile(f"orbnet/{path}", source, None, sha256, licence)


def _published(stem: str, sha256: str) -> DataFile:
    name = f"orbnet/gmtkn55/published_mae/{stem}.csv"
    return DataFile(name, _WAGEN, f"{_RAW}/{stem}.csv", sha256, "no licence file; figures of the cited papers")


# By path below orbnet/, and the published mean errors by their file's stem.
FILES: dict[str, DataFile] = {path: _file(path, digest) for path, digest in _pairs(_SHA256).items()}
PUBLISHED: dict[str, DataFile] = {stem: _published(stem, digest) for stem, digest in _pairs(_PUBLISHED_SHA256).items()}
