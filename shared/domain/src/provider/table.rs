//! The providers: their domains, and the pace at which a server may send to each.
//!
//! Where a provider has published a number its line says so, in words, from its page for postmasters
//! as last known; the numbers of all others are ours. Rates are for one server that sends regularly;
//! one that is new begins with a warm-up.

use super::Provider;
use crate::Rate;

const fn provider(
    (place, name): (i64, &'static str),
    (a_minute, burst, connections): (u32, u32, u32),
    domains: &'static str,
    families: &'static [(&'static str, &'static str)],
) -> Provider {
    Provider { name, place, rate: Rate::a_minute(a_minute, burst), connections, domains, families }
}

/// All known providers. A new one goes to the end and takes the next place.
pub static PROVIDERS: [Provider; 28] = [
    // Google publishes no number: it asks for a steady flow that grows slowly, and answers
    // 421 4.7.28 to what comes too fast.
    provider((0, "google"), (600, 60, 10), "gmail.com googlemail.com", &[]),
    // Outlook.com's policy for postmasters has named 500 connections as the most without asking
    // first, for the largest senders; a small one is told RP-001 to RP-003 long before.
    provider(
        (1, "microsoft"),
        (300, 30, 10),
        "msn.com windowslive.com passport.com",
        &[("outlook", OUTLOOK), ("hotmail", HOTMAIL), ("live", LIVE), ("msn", "cn nl")],
    ),
    // Yahoo's page for senders asks for few connections and at most 20 messages over each. It keeps
    // the mailboxes of AOL, Verizon, AT&T, Sky and Rogers too.
    provider(
        (2, "yahoo"),
        (300, 30, 5),
        "ymail.com rocketmail.com myyahoo.com aim.com netscape.net verizon.net att.net \
         sbcglobal.net bellsouth.net ameritech.net pacbell.net swbell.net prodigy.net flash.net \
         nvbell.net snet.net sky.com rogers.com",
        &[("yahoo", YAHOO), ("aol", "com co.uk de fr it")],
    ),
    provider((3, "apple"), (240, 40, 5), "icloud.com me.com mac.com privaterelay.appleid.com", &[]),
    // United Internet: GMX, WEB.DE and mail.com.
    provider(
        (4, "gmx"),
        (240, 40, 5),
        "web.de mail.com",
        &[("gmx", "net de at ch com fr es li eu us org info biz tm co.uk co.in cn hk ie it ru")],
    ),
    // T-Online wants an address to be made known to its postmasters before it sends at all.
    provider((5, "t_online"), (120, 20, 2), "t-online.de magenta.de", &[]),
    provider((6, "freenet"), (120, 20, 2), "freenet.de", &[]),
    // Orange's conditions for senders: two connections at a time from an address.
    provider((7, "orange"), (120, 20, 2), "orange.fr wanadoo.fr voila.fr", &[]),
    provider(
        (8, "free"),
        (120, 20, 2),
        "free.fr libertysurf.fr aliceadsl.fr online.fr freesbee.fr infonie.fr worldonline.fr",
        &[],
    ),
    provider(
        (9, "sfr"),
        (120, 20, 2),
        "sfr.fr neuf.fr cegetel.net club-internet.fr 9online.fr numericable.fr noos.fr",
        &[],
    ),
    provider((10, "laposte"), (120, 20, 2), "laposte.net", &[]),
    provider((11, "bouygues"), (120, 20, 2), "bbox.fr", &[]),
    // Italiaonline.
    provider(
        (12, "libero"),
        (120, 20, 3),
        "libero.it virgilio.it inwind.it iol.it blu.it giallo.it",
        &[],
    ),
    provider((13, "tim"), (120, 20, 2), "tim.it alice.it tin.it", &[]),
    provider((14, "mail_ru"), (120, 20, 5), "mail.ru bk.ru list.ru inbox.ru internet.ru", &[]),
    provider((15, "yandex"), (120, 20, 5), "ya.ru narod.ru", &[("yandex", "ru com by kz ua")]),
    // Wirtualna Polska.
    provider((16, "wp"), (120, 20, 3), "wp.pl o2.pl tlen.pl go2.pl", &[]),
    provider((17, "onet"), (120, 20, 3), "onet.pl onet.eu op.pl vp.pl poczta.onet.pl", &[]),
    provider((18, "interia"), (120, 20, 3), "interia.pl interia.eu poczta.fm", &[]),
    provider((19, "seznam"), (120, 20, 3), "seznam.cz email.cz post.cz spoluzaci.cz", &[]),
    provider((20, "telenet"), (120, 20, 2), "telenet.be", &[]),
    provider((21, "proximus"), (120, 20, 2), "proximus.be skynet.be", &[]),
    provider((22, "kpn"), (120, 20, 2), "kpnmail.nl planet.nl hetnet.nl kpnplanet.nl", &[]),
    provider((23, "ziggo"), (120, 20, 2), "ziggo.nl upcmail.nl home.nl chello.nl", &[]),
    provider((24, "bt"), (120, 20, 3), "btinternet.com btopenworld.com talk21.com", &[]),
    provider(
        (25, "virgin_media"),
        (120, 20, 3),
        "virginmedia.com ntlworld.com blueyonder.co.uk virgin.net",
        &[],
    ),
    // Comcast's page for postmasters: 25 connections at a time from an address.
    provider((26, "comcast"), (240, 40, 5), "comcast.net", &[]),
    // Another company than Yahoo, with servers of its own.
    provider((27, "yahoo_japan"), (120, 20, 2), "yahoo.co.jp ymail.ne.jp", &[]),
];

const OUTLOOK: &str = "com fr de es it be at dk cz ie pt sk hu jp kr in lv my ph sa sg cl com.ar \
    com.au com.br com.gr com.tr com.vn co.id co.il co.th";
const HOTMAIL: &str = "com co.uk fr de it es be nl ca se no dk fi ch at gr cl cz hu lt lv my ph \
    rs sg sk com.ar com.au com.br com.tr com.hk com.tw com.vn co.id co.il co.in co.jp co.kr co.nz \
    co.th co.za";
const LIVE: &str = "com co.uk fr de it nl be se no dk ie at fi ca cn cl hk in jp ru com.ar com.au \
    com.mx com.my com.ph com.pt com.sg co.in co.kr co.za";
const YAHOO: &str = "com co.uk fr de it es ca in ie gr ro se no dk pl be cl nl cz fi hu pt com.ar \
    com.au com.br com.co com.hk com.mx com.my com.pe com.ph com.sg com.tr com.tw com.vn co.id \
    co.in co.kr co.nz co.th co.za";
