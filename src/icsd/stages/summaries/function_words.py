"""Function words of four languages, as ICU cuts them: articles, prepositions, pronouns, particles, measures.

Words about the picture itself (bild, 照片) and the number one are here too, as in the lists of English.
"""

from collections.abc import Mapping

from icsd.core.languages import folded

_GERMAN = (
    "der die das den dem des ein eine einen einem einer eines kein keine keinen keinem keiner und oder aber sowie "
    "auch während wobei dass daß wenn als wie so nur noch schon sehr mehr viel viele vielen einige einigen mehrere "
    "mehreren beide beiden alle allen jede jeder jedes jeden jedem in im ins an am ans auf aufs aus bei beim mit "
    "nach von vom zu zum zur für durch durchs über überm unter unterm vor vorm hinter hinterm neben zwischen um "
    "ums gegen ohne bis seit entlang gegenüber außerhalb innerhalb oberhalb unterhalb herum hinein hinauf hinunter "
    "heraus herunter daneben davor dahinter darauf darin darunter darüber dabei damit dazu daran hier dort da er "
    "sie es ihr ihre ihren ihrem ihrer ihres sein seine seinen seinem seiner seines sich man einander deren dessen "
    "welche welcher welches ist sind war waren wird werden wurde wurden hat haben hatte kann können befindet "
    "befinden gibt ab los hin her bild foto aufnahme hintergrund vordergrund zeigt zeigen sehen sieht zweite "
    "andere anderen anderer"
)
_ARABIC = (
    "و ف ب ك ل ال في من على إلى الى عن مع عند بين تحت فوق أمام امام خلف وراء بجانب جانب بجوار جوار قرب بالقرب داخل "
    "خارج حول نحو عبر خلال بعد قبل حتى منذ ضد دون بدون هو هي هم هن هما هذا هذه هؤلاء ذلك تلك الذي التي الذين "
    "اللذان كان كانت يكون تكون هناك هنا أن ان إن أو او ثم لكن بل كما كل بعض عدة كثير ما لا لم لن قد بينما حيث "
    "أثناء اثناء أيضا ايضا جدا واحد واحدة آخر اخر أخرى اخرى بها به فيها فيه عليها عليه منها منه لها له معها معه "
    "إليها إليه صورة الصورة خلفية الخلفية يظهر تظهر"
)
_CHINESE = (
    "的 地 得 了 着 著 过 過 在 正在 是 有 和 与 與 及 以及 或 跟 同 并 並 并且 而 而且 也 都 还 還 又 就 很 很多 非常 "
    "更 最 把 被 给 給 对 對 向 往 从 從 到 于 於 为 為 以 用 由 沿 沿着 沿著 朝 里 裡 裏 里面 裡面 中 中间 中間 "
    "上 上面 下 下面 内 內 外 外面 前 前面 前方 后 後 后面 後面 后方 後方 旁 旁边 旁邊 边 邊 身边 身邊 附近 之间 "
    "之間 之上 之下 周围 周圍 左边 右边 这 這 那 这个 那个 這個 那個 这里 那里 它 它们 它們 他 她 他们 她们 他們 "
    "她們 其 其中 自己 们 們 一 一个 一個 一位 一名 一只 一隻 一条 一條 一张 一張 一些 一群 一片 一辆 一輛 一座 "
    "一件 一顶 一把 一家 一起 一边 一邊 一旁 一样 几 幾 几个 一幅 一杯 个 個 位 名 只 隻 条 條 张 張 些 群 片 辆 "
    "輛 座 件 顶 頂 家 匹 棵 朵 杯 碗 盘 盤 块 塊 本 支 双 雙 架 艘 台 间 間 根 束 串 层 層 排 幅 堆 种 種 图 图中 "
    "图片 照片 画面 畫面 背景 背景中 场景 場景 可以 看到 看见 显示 顯示 来 來 去 起 起来 等 此 时 時 当 當 同时 "
    "同時 不 没有 沒有 位于 位於 上有 有一 里有 中有 旁有 本"
)
_JAPANESE = (
    "くらい ながら しかし そして および 及び いない あった ました でした すると される された ている ていた なって "
    "られる ように ような ところ あそこ それら 彼 彼女 彼ら 自分 上 下 中 前 後ろ 後 横 隣 近く 間 周り 周囲 "
    "向こう 手前 奥 側 一 1 一つ ひとつ 1つ 一人 ひとり 一匹 一枚 一台 人 匹 台 枚 個 羽 冊 軒 杯 着 様子 写真 "
    "画像 背景 風景 見える 見え 写って 写っ みえる とても たくさん 少し かけて ついて"
)
FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(map(folded, listed.split()))
    for language, listed in {"ar": _ARABIC, "de": _GERMAN, "ja": _JAPANESE, "zh": _CHINESE}.items()
}
